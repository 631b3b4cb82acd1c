"""A fresh process with an empty cache that a test tells what to load from the Hub of tests, one thing after another."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.hub_server.processes import environment
from tests.hub_server.server import HubServer

ROOT = Path(__file__).parents[2]

# A line in: module, function, arguments and token; a line out: what it returned and printed, or the user's error.
_SCRIPT = """
import contextlib, importlib, io, json, os, sys, time, types
import huggingface_hub.file_download, huggingface_hub.utils._http

answers = os.fdopen(os.dup(1), "w")
hasty = types.SimpleNamespace(**{**vars(time), "sleep": lambda seconds: None})  # no waiting between tries
huggingface_hub.file_download.time = huggingface_hub.utils._http.time = hasty
from training.errors import UserError

for line in sys.stdin:
    module, function, arguments, token = json.loads(line)
    os.environ.pop("HF_TOKEN", None)
    if token is not None:
        os.environ["HF_TOKEN"] = token
    said, answer = io.StringIO(), {}
    with contextlib.redirect_stdout(said):
        try:
            called = getattr(importlib.import_module(module), function)
            if function == "main":
                sys.argv[1:], arguments = arguments, []
            answer["value"] = called(*arguments)
        except UserError as error:
            answer["error"] = str(error)
    answer["said"] = said.getvalue()
    print(json.dumps(answer, default=lambda value: None), file=answers, flush=True)
"""


class HubClient:
    """A context that runs the process while it lasts.

    Args:
        server: the Hub it knows.
        home: its HF_HOME, and the folder of its standard error.
        more: further environment, such as `HF_HUB_OFFLINE`.
    """

    def __init__(self, server: HubServer, home: Path, **more: str) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.log = home / "stderr.txt"
        self._env = environment(server, home, **more)

    def __enter__(self) -> "HubClient":
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _SCRIPT],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._env,
                cwd=ROOT,
                text=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)

    def call(self, module: str, function: str, *arguments: Any, token: str | None = None) -> dict[str, Any]:
        """Call a function there.

        Args:
            module: to import.
            function: of the module; `main` takes the arguments as those of the command line.
            arguments: plain values.
            token: of the login; `None` for none.

        Returns:
            "error": the message, where it was the user's error; else "value": what it returned, as JSON. "said": what
            it printed.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps([module, function, arguments, token]) + "\n")
        stdin.flush()
        line = stdout.readline()
        assert line, self.log.read_text()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def error(self, *call: Any, token: str | None = None) -> str:
        """The message of a call that must be refused, which must be one line without the token."""
        answer = self.call(*call, token=token)
        assert "error" in answer, answer
        message = str(answer["error"])
        assert "\n" not in message
        assert token is None or token not in message + answer["said"] + self.log.read_text()
        return message

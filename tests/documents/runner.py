"""Runs the steps of documents: `python runner.py MODULE...` loads modules, then answers one request a line.

A request is a JSON object: `plan` (steps to run, in order), `folder` to run them in, `environment` to add, and the file
that gets their `output`. The answer is their exit status.

A process of its own for each document, as a reader has, but a fork of one in which torch and its kin are loaded:
importing them takes longer than most of the steps. Python blocks share one namespace; `python -m` commands are forks
too; any other command runs in a shell.
"""

import importlib
import json
import multiprocessing
import os
import resource
import runpy
import shlex
import subprocess
import sys
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

FORK = multiprocessing.get_context("fork")


def main() -> None:
    """Load, then serve until the other side closes."""
    sys.path[0] = ""  # as of `python -m`, instead of the folder of this file
    for name in sys.argv[1:]:
        importlib.import_module(name)
    for line in sys.stdin:
        process = FORK.Process(target=_answer, args=(json.loads(line),))
        process.start()
        process.join()
        print(process.exitcode, flush=True)


def _answer(request: dict[str, Any]) -> None:
    _print_into(request["output"])
    os.chdir(request["folder"])
    os.environ.update(request["environment"])
    run_plan(request["plan"])


def _print_into(path: str | Path) -> None:
    output = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)


def run_plan(plan: dict[str, Any]) -> None:
    """Run all steps; say what failed, where, and end with status 1."""
    notebook = Notebook(plan["document"])
    for step in plan["steps"]:
        place = f"{plan['document']}:{step['line']}"
        print(f"== {place}  {step['code'].splitlines()[0]}", flush=True)
        begin, cpu = time.perf_counter(), _cpu_seconds()
        failure = notebook.run(step) if step["kind"] == "python" else run_command(step["code"])
        print(f"   {time.perf_counter() - begin:.1f} s, {_cpu_seconds() - cpu:.1f} s of the CPU", flush=True)
        if failure is not None:
            print(f"FAILED {place}\n{step['code']}\n{failure}", flush=True)
            notebook.close()
            sys.exit(1)
    notebook.close()


def _cpu_seconds() -> float:
    """Of all processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class Notebook:
    """A process that runs blocks of Python in one namespace. This one only forks, so that it stays fit for it."""

    def __init__(self, document: str) -> None:
        self._here, there = FORK.Pipe()
        self._process = FORK.Process(target=_run_blocks, args=(there, document))
        self._process.start()
        there.close()

    def run(self, step: dict[str, Any]) -> str | None:
        """The traceback if it fails."""
        self._here.send(step)
        try:
            return self._here.recv()
        except EOFError:
            return "the interpreter died"

    def close(self) -> None:
        """End the process; one that will not end hangs in a thread that a block left behind."""
        if self._process.is_alive():
            self._here.send(None)
            self._process.join(timeout=30)
            if self._process.is_alive():
                self._process.terminate()
                sys.exit("a block left something running that keeps its process from ending")


def _run_blocks(connection: Connection, document: str) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    while (step := connection.recv()) is not None:
        try:
            # Empty lines in front, so that tracebacks name lines of the document.
            exec(compile("\n" * (step["line"] - 1) + step["code"], document, "exec"), namespace)
            connection.send(None)
        except BaseException:
            connection.send(traceback.format_exc())


def run_command(command: str) -> str | None:
    """Its last output if it fails."""
    log = Path(os.environ["DOCUMENT_LOG"])
    words = shlex.split(command, comments=True)
    if words[:2] == ["python", "-m"] and not set(" ".join(words)) & set("|&;<>$`*"):
        process = FORK.Process(target=_run_module, args=(words[2:], log))
        process.start()
        process.join()
        status = process.exitcode
    else:
        with log.open("wb") as output:
            status = subprocess.run(["bash", "-c", command], stdout=output, stderr=output, check=False).returncode
    if status == 0:
        return None
    return f"exit status {status}\n{log.read_text(errors='replace')[-4000:]}"


def _run_module(words: list[str], log: Path) -> None:
    _print_into(log)
    sys.argv = words
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

"""Runs steps in the process of `runner.py`, and says what failed."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .blocks import Step

Popen = subprocess.Popen[str]

CHECKOUT = Path(__file__).resolve().parents[2]
# What commands and blocks import anyway; loaded once for all documents. Nothing of this project.
PRELOAD = (
    "torch", "torchvision", "transformers.modeling_utils", "transformers.image_processing_backends", "accelerate",
    "datasets", "evaluate", "sklearn.linear_model", "timm", "cv2",
)  # fmt: skip


@contextmanager
def start_runner(home: Path) -> Iterator[Popen]:
    """A process in which `PRELOAD` is loaded, without network and with an empty cache in `home`; see `runner.py`."""
    # What is read when modules are loaded.
    environment = {
        **os.environ,
        "PYTHONPATH": str(CHECKOUT),
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",  # threads that spin on a busy machine keep others from their work
        "TOKENIZERS_PARALLELISM": "false",
    }
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("runner.py")), *PRELOAD],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


def run_steps(document: Path, steps: list[Step], world: Path, runner: Popen) -> None:
    """Run the steps of a document in the folder `world`; `AssertionError` with the place and text of a failure."""
    output = world.parent / "output.txt"
    request = {
        "plan": {"document": str(document), "steps": [dataclasses.asdict(step) for step in steps]},
        "folder": str(world),
        "environment": {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "DOCUMENT_LOG": str(world.parent / "command.log"),
            "MPLCONFIGDIR": str(world.parent / "matplotlib"),
        },
        "output": str(output),
    }
    assert runner.stdin is not None
    assert runner.stdout is not None
    print(json.dumps(request), file=runner.stdin, flush=True)
    status = runner.stdout.readline().strip()
    printed = output.read_text(encoding="utf-8", errors="replace")
    print(printed)  # pytest shows it if the test fails
    assert status == "0", printed.partition("FAILED ")[2] or printed[-4000:]

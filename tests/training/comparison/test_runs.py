import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from training.comparison.runs import run_module
from training.errors import UserError


def test_a_failed_process_is_one_sentence(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(
        UserError, match=r"training\.pretrain ended with code 2, its own message stands above; the same"
    ):
        run_module("training.pretrain", ["no_such_key=1"])
    assert "error: override 'no_such_key=1'" in capfd.readouterr().err


def test_a_stopped_comparison_stops_what_it_started(tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text(
        "import os, pathlib, time\npathlib.Path('pid').write_text(str(os.getpid()))\ntime.sleep(60)\n"
    )
    code = (
        "from training.errors import stop_on_sigterm\nfrom training.comparison.runs import run_module\n"
        "stop_on_sigterm()\nrun_module('sleeper', [])"
    )
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{root}", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment)
    pid = tmp_path / "pid"
    while not (pid.is_file() and pid.read_text()):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)

"""Worker processes that die, hang or meet a full disk."""

import errno
import os
import signal
import subprocess
import sys
import time
from multiprocessing.connection import Pipe
from pathlib import Path

import pytest

from training.corpus.work.local import LocalEngine, default_workers
from training.corpus.work.task import ATTEMPTS
from training.errors import UserError

# Tasks as the engine knows them, in a module that worker processes can import.
MODULE = """
import errno, os, signal, time
from dataclasses import dataclass
from multiprocessing.connection import Pipe
from pathlib import Path
from types import SimpleNamespace

from training.errors import UserError


@dataclass(frozen=True)
class OddTask:
    folder: Path
    act: str = ""
    times: int = 0  # attempts in which it acts
    stall: float = 60.0

    unit = SimpleNamespace(size=0)

    @property
    def settings(self):
        return SimpleNamespace(decoding=SimpleNamespace(stall_seconds=self.stall))

    @property
    def finished(self):
        return self.folder.exists()

    def run(self, decoder, advance):
        tries = self.folder.with_suffix(".tries")
        with tries.open("a") as file:
            file.write(f"{os.getpid()}\\\\n")
        if len(tries.read_text().split()) <= self.times:
            if self.act == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.act == "crash":
                os._exit(3)
            if self.act == "hang":
                time.sleep(600)
            if self.act == "memory":
                raise MemoryError
            if self.act == "full":
                raise OSError(errno.ENOSPC, "No space left on device")
            if self.act == "mistake":
                raise UserError("this is wrong")
            if self.act == "bug":
                raise ZeroDivisionError("a bug")
            if self.act == "late":
                self.folder.mkdir()
                os.kill(os.getpid(), signal.SIGKILL)
        advance(2, 5.0)
        self.folder.mkdir()

    def give_up(self, detail):
        self.folder.mkdir()
        (self.folder / "detail").write_text(detail)
"""


@pytest.fixture
def odd(tmp_path, monkeypatch):
    """Makes tasks: `odd(name, act, times)`."""
    (tmp_path / "odd_tasks.py").write_text(MODULE.replace("\\\\n", "\\n"))
    monkeypatch.syspath_prepend(str(tmp_path))
    import odd_tasks  # type: ignore[import-not-found]

    yield lambda name, *rest, **more: odd_tasks.OddTask(tmp_path / name, *rest, **more)
    del sys.modules["odd_tasks"]


def work_off(engine: LocalEngine, tasks: list, progress=lambda *_: None) -> None:
    left = {task.folder.name for task in tasks}
    for task in tasks:
        engine.submit(task)
    give_up = time.monotonic() + 120
    while left:
        assert time.monotonic() < give_up
        left -= {task.folder.name for task in engine.wait(progress)}


def tries(task) -> list[str]:
    return task.folder.with_suffix(".tries").read_text().split()


def test_a_unit_whose_worker_dies_is_done_by_another(odd):
    killed, crashed, hungry, fine = odd("a", "killed", 1), odd("b", "crash", 2), odd("c", "memory", 1), odd("d")
    told = []
    with LocalEngine(2) as engine:
        work_off(engine, [killed, crashed, hungry, fine], lambda task, *done: told.append((task.folder.name, *done)))
    assert [len(set(tries(task))) for task in (killed, crashed, hungry, fine)] == [
        2,
        3,
        2,
        1,
    ]  # each by another process
    assert not any((task.folder / "detail").exists() for task in (killed, crashed, hungry, fine))
    assert sorted(told) == [(name, 2, 5.0) for name in "abcd"]


def test_a_unit_that_nobody_survives_is_given_up_and_the_others_are_done(odd):
    bad, worse, fine = odd("a", "killed", 99), odd("b", "crash", 99), odd("c")
    with LocalEngine(2) as engine:
        work_off(engine, [bad, worse, fine])
    assert (bad.folder / "detail").read_text() == "the worker process was ended by SIGKILL, 3 times"
    assert (worse.folder / "detail").read_text() == "the worker process ended with exit code 3, 3 times"
    assert len(tries(bad)) == ATTEMPTS == 3
    assert fine.folder.exists()


def test_a_hung_worker_is_replaced(odd):
    once, always = odd("a", "hang", 1, stall=0.1), odd("b", "hang", 99, stall=0.1)
    with LocalEngine(2) as engine:
        work_off(engine, [once, always])
    assert not (once.folder / "detail").exists()
    assert (always.folder / "detail").read_text() == "the worker process hung: no sign of life for 1 s, 3 times"
    assert all(not Path(f"/proc/{pid}").exists() for pid in tries(once) + tries(always))


def test_a_worker_that_dies_after_its_work_costs_nothing(odd):
    task = odd("a", "late", 1)
    with LocalEngine(1) as engine:
        work_off(engine, [task])
    assert len(tries(task)) == 1


@pytest.mark.parametrize(
    ("act", "kind", "message"),
    [
        ("full", OSError, "No space left on device"),
        ("mistake", UserError, "^this is wrong$"),
        ("bug", RuntimeError, r"a worker process failed:\n(.|\n)*ZeroDivisionError: a bug"),
    ],
)
def test_what_ends_a_run(odd, act, kind, message):
    with pytest.raises(kind, match=message) as caught, LocalEngine(1) as engine:
        work_off(engine, [odd("a", act, 1)])
    assert act != "full" or caught.value.errno == errno.ENOSPC


def test_a_worker_that_cannot_start_ends_the_run(odd, tmp_path, monkeypatch):
    (tmp_path / "cv2.py").write_text("raise ImportError('no OpenCV here')")
    with pytest.raises(RuntimeError, match="ended with exit code 1 while it started"), LocalEngine(1) as engine:
        work_off(engine, [odd("a")])


def test_no_process_is_left_behind(odd):
    slow = odd("a", "hang", 1)
    with LocalEngine(1) as engine:
        engine.submit(slow)
        while not slow.folder.with_suffix(".tries").exists():
            engine._attend(engine._processes[0], lambda *_: None)
            engine._feed()
            time.sleep(0.01)
    (pid,) = tries(slow)
    assert not Path(f"/proc/{pid}").exists()


def test_workers_end_with_a_run_that_is_killed(odd, tmp_path):
    """The run is killed without a chance to clean up; its busy worker notices by itself."""
    script = f"""
import sys; sys.path.insert(0, {str(tmp_path)!r})
from multiprocessing.connection import Pipe
from pathlib import Path
import odd_tasks
from training.corpus.work.local import LocalEngine
engine = LocalEngine(1)
engine.submit(odd_tasks.OddTask(Path({str(tmp_path / "a")!r}), "hang", 9))
while True:
    engine.wait(print)
"""
    run = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[4])
    note = tmp_path / "a.tries"
    while not (note.exists() and note.read_text()):
        assert run.poll() is None
        time.sleep(0.05)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    pid = note.read_text().strip()
    give_up = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < give_up
        time.sleep(0.1)


def test_one_worker_per_core_of_this_process():
    assert default_workers() == len(os.sched_getaffinity(0))


def test_a_worker_whose_run_is_gone_ends_without_a_traceback():
    pipe, other = Pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", f"from training.corpus.work.local import serve; serve({other.fileno()})"],
        pass_fds=[other.fileno()],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    other.close()
    assert pipe.poll(60)
    pipe.close()  # with its "ready" unread, which resets the connection instead of ending it
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")

"""The local engine: worker processes on this machine, each with a decoder of its own, watched like the decoders are.

A worker that crashes, is killed or hangs is replaced, and its unit is tried again by another one. After `ATTEMPTS`
workers the unit is given up, with a drop row; the run goes on.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter, deque
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any

import cv2

from training.corpus.decoder_process import START_SECONDS, DecoderProcess, end_with_parent
from training.corpus.work.task import ATTEMPTS, Progress, Task
from training.errors import UserError

# Silence after which a worker counts as hung, in stall limits of its decoder. The decoder is watched by itself, and
# its answers are signs of life, so only a library that spins over one picture or a dead network folder takes this long.
HANG_STALLS = 10
HASH_BYTES_PER_SECOND = 5e6  # reading a unit's files for their SHA-256 and again to open them, on a busy network folder
# Workers are what runs in parallel; threads of libraries inside them would only compete.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class LocalEngine:
    """Up to `workers` worker processes; they start as they are needed and serve one task after the other."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._tasks: deque[Task] = deque()
        self._processes: list[_Worker] = []
        self._deaths: Counter[str] = Counter()  # by name of the task's folder

    def __enter__(self) -> "LocalEngine":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._processes:
            worker.stop()
        self._processes = []

    def submit(self, task: Task) -> None:
        """See `Engine`."""
        self._tasks.append(task)
        self._feed()

    def wait(self, progress: Progress) -> list[Task]:
        """See `Engine`."""
        self._feed()
        due = min(worker.due for worker in self._processes)
        wait([worker.pipe for worker in self._processes], min(max(0.0, due - time.monotonic()), 60.0))
        finished = [task for worker in list(self._processes) if (task := self._attend(worker, progress))]
        self._feed()
        return finished

    def _feed(self) -> None:
        """Give tasks to idle workers, and start workers while there are more tasks."""
        idle = sum(worker.task is None for worker in self._processes)
        for _ in range(min(len(self._tasks) - idle, self.workers - len(self._processes))):
            self._processes.append(_Worker())
        for worker in self._processes:
            if self._tasks and worker.ready and worker.task is None:
                task = self._tasks.popleft()
                try:
                    worker.give(task)
                except (BrokenPipeError, ConnectionResetError):  # it died idle; `wait` meets its closed pipe
                    self._tasks.appendleft(task)

    def _attend(self, worker: "_Worker", progress: Progress) -> Task | None:
        """Take in what a worker has to say. Returns its task if that is finished."""
        try:
            while worker.pipe.poll():
                kind, value = worker.pipe.recv()
                worker.alive()
                if kind == "ready":
                    worker.ready = True
                elif kind == "advance" and worker.task is not None:
                    progress(worker.task, *value)
                elif kind == "failed":
                    raise value
                elif kind == "bug":
                    raise RuntimeError(f"a worker process failed:\n{value}")
                elif kind == "done":
                    task, worker.task = worker.task, None
                    return task
        except (EOFError, ConnectionResetError):
            return self._replace(worker, f"the worker process {_how_it_ended(worker.end())}")
        if time.monotonic() >= worker.due:
            worker.stop()
            return self._replace(worker, f"the worker process hung: no sign of life for {worker.patience:.0f} s")
        return None

    def _replace(self, worker: "_Worker", detail: str) -> Task | None:
        """Take a dead worker out; its task waits for another one, or is given up and thereby finished."""
        self._processes.remove(worker)
        task = worker.task
        if not worker.ready:
            raise RuntimeError(f"{detail} while it started: its own message stands above")
        if task is None:
            return None
        if task.finished:  # it died between its last word and the rename
            return task
        self._deaths[task.folder.name] += 1
        if self._deaths[task.folder.name] < ATTEMPTS:
            self._tasks.appendleft(task)
            return None
        task.give_up(f"{detail}, {ATTEMPTS} times")
        return task


@dataclass(eq=False)
class _Worker:
    """One worker process, seen from outside."""

    task: Task | None = None
    ready: bool = False
    patience: float = START_SECONDS  # seconds of silence that are honest in what it does now

    def __post_init__(self) -> None:
        # Not multiprocessing, for the reasons that decoder_process gives.
        self.pipe, other = Pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from training.corpus.work.local import serve; serve({other.fileno()})"],
            pass_fds=[other.fileno()],
            env={**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        other.close()
        self.alive()

    def alive(self) -> None:
        """Note a sign of life."""
        self._heard = time.monotonic()

    @property
    def due(self) -> float:
        """Time by which the next sign of life must come; never for an idle worker."""
        return float("inf") if self.ready and self.task is None else self._heard + self.patience

    def give(self, task: Task) -> None:
        self.pipe.send(task)
        self.task = task
        self.patience = HANG_STALLS * task.settings.decoding.stall_seconds + task.unit.size / HASH_BYTES_PER_SECOND
        self.alive()

    def end(self) -> int | None:
        """Exit code of a worker whose pipe has closed, which is about to be gone; `None` if it is not."""
        code: int | None = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(5)
        self.stop()
        return code

    def stop(self) -> None:
        """End it, whatever it is doing; an idle one by closing its pipe, so that its decoder ends first."""
        self.pipe.close()
        if self.task is None and self.ready:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(2)
        self._process.kill()
        self._process.wait()


def default_workers() -> int:
    """One worker per core that this process may use: decoding keeps a core busy, and a worker hardly waits."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def serve(pipe_number: int) -> None:
    """The worker process: do tasks from the inherited pipe until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the run ends its workers itself
    threading.Thread(target=end_with_parent, args=(os.getppid(),), daemon=True).start()
    cv2.setNumThreads(1)
    pipe = Connection(pipe_number)
    decoder: DecoderProcess | None = None
    # The run closes the pipe when there is no more to do, or at any moment when it is interrupted.
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        pipe.send(("ready", None))
        while True:
            task: Task = pipe.recv()
            decoder = decoder or DecoderProcess(task.settings.decoding)
            pipe.send(_answer(task, decoder, pipe))
    if decoder is not None:
        decoder.stop()


def _answer(task: Task, decoder: DecoderProcess, pipe: Connection) -> tuple[str, Any]:
    """Do a task; what to say at its end."""
    try:
        task.run(decoder, lambda frames, num_bytes: pipe.send(("advance", (frames, num_bytes))))
    except (BrokenPipeError, ConnectionResetError):
        raise SystemExit(1) from None  # the run is gone
    except MemoryError:
        os._exit(1)  # like a worker that the system killed for it: another one tries
    except (UserError, OSError) as error:
        return "failed", error
    except Exception:  # the run raises it again, with this text
        return "bug", traceback.format_exc()
    return "done", None


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"

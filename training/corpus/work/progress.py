"""The progress bar of curation: source bytes done, with frames per second and the file worked on last beside it."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from training.corpus.sources import Unit
from training.corpus.work.task import Task


class ProgressBar:
    """A bar over all units, whoever works on them. Use as a context manager."""

    def __init__(self) -> None:
        self._total = 0
        self._bytes_in_all = 0
        self._done = 0
        self._frames = 0
        self._bytes: Counter[str] = Counter()  # of running tasks, by name of the task's folder
        self._start = time.monotonic()
        self._bar: tqdm[Any] | None = None  # none while there is nothing to do

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def add(self, units: Sequence[Unit]) -> None:
        """Units to come."""
        if not units:
            return
        self._total += len(units)
        if self._bar is None:
            self._bar = tqdm(
                total=0,
                bar_format="{percentage:3.0f}%|{bar:24}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]",
                unit="B",
                unit_scale=True,
                mininterval=0.5,
            )
        self._bytes_in_all += sum(unit.size for unit in units)
        self._bar.total = self._bytes_in_all

    def advance(self, task: Task, frames: int, num_bytes: float) -> None:
        """Frames and source bytes of a task were done. A second attempt adds no bytes beyond the size of the unit."""
        done = min(int(num_bytes), task.unit.size - self._bytes[task.folder.name])
        self._frames += frames
        self._bytes[task.folder.name] += done
        self._show(task, done)

    def end(self, task: Task) -> None:
        """A task was finished, maybe in an earlier run."""
        self._done += 1
        self._show(task, task.unit.size - self._bytes.pop(task.folder.name, 0))

    def _show(self, task: Task, num_bytes: int) -> None:
        if self._bar is None:
            return
        rate = self._frames / max(time.monotonic() - self._start, 1e-3)
        name = task.unit.files[0].location.name  # the true name: it is shown to the user, and kept nowhere
        text = f"{self._frames} frames, {rate:.1f} frames/s, {self._done}/{self._total} videos, {name[-40:]}"
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(num_bytes)

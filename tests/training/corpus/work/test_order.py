"""Tasks are handed on in the order of the plan, and not more of them are begun than the disk may hold."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from training.corpus.work.order import in_order


@dataclass(frozen=True)
class FakeTask:
    folder: Path
    size: int = 0

    @property
    def finished(self) -> bool:
        return self.folder.exists()

    @property
    def num_bytes(self) -> int:
        return self.size

    def finish(self) -> None:
        self.folder.mkdir()


class FakeEngine:
    """Finishes the task that was submitted last, so that the first one waits longest."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.running: list[FakeTask] = []
        self.begun: list[str] = []
        self.most = 0

    def submit(self, task: FakeTask) -> None:
        self.running.append(task)
        self.begun.append(task.folder.name)
        self.most = max(self.most, len(self.running))

    def wait(self, progress) -> list[FakeTask]:
        task = self.running.pop()
        task.finish()
        progress(task, 1, 1.0)
        return [task]


def tasks_of(tmp_path: Path, *sizes: int) -> list[FakeTask]:
    return [FakeTask(tmp_path / f"{number}", size) for number, size in enumerate(sizes)]


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_order_of_the_plan_for_any_number_of_workers(tmp_path, workers):
    tasks, engine = tasks_of(tmp_path, *[1] * 20), FakeEngine(workers)
    told = []
    assert list(in_order(tasks, engine, 1e9, lambda task, *_: told.append(task))) == tasks
    assert sorted(engine.begun) == sorted(task.folder.name for task in tasks)
    assert engine.most == workers
    assert len(told) == 20


def test_outcomes_that_wait_hold_a_bounded_number_of_bytes(tmp_path):
    tasks, engine = tasks_of(tmp_path, *[10] * 12), FakeEngine(2)
    assert list(in_order(tasks, engine, 30, lambda *_: None)) == tasks
    # While task 0 runs, tasks 1, 2 and 3 are done by the other worker; then 30 bytes wait and nothing is begun.
    assert engine.begun[:4] == ["0", "1", "2", "3"]
    waiting, most = set(), 0
    engine = FakeEngine(2)
    for task in tasks:
        task.folder.rmdir()
    for task in in_order(tasks, engine, 30, lambda done, *_: waiting.add(done.folder.name)):
        most = max(most, len(waiting))
        waiting.remove(task.folder.name)
    assert most == 4  # 30 bytes, and the one that they waited for


def test_outcomes_of_an_earlier_run_are_not_made_again(tmp_path):
    tasks, engine = tasks_of(tmp_path, *[1] * 5), FakeEngine(2)
    tasks[0].finish()
    tasks[3].finish()
    assert list(in_order(tasks, engine, 1e9, lambda *_: None)) == tasks
    assert sorted(engine.begun) == ["1", "2", "4"]


def test_no_task(tmp_path):
    assert list(in_order([], FakeEngine(2), 1, lambda *_: None)) == []

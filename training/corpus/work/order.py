"""Which task is begun when, and that outcomes are handed on in the order of the plan however many workers there are."""

from collections.abc import Iterator, Sequence

from training.corpus.work.task import Engine, Progress, Task


def in_order(tasks: Sequence[Task], engine: Engine, held_bytes: float, progress: Progress) -> Iterator[Task]:
    """Give back each task when its outcome and those of all tasks before it are there.

    Args:
        tasks: in the order of the plan. Those with an outcome from an interrupted run are not done again.
        engine: does the others.
        held_bytes: no task is begun while outcomes that wait for an earlier task hold so many bytes of frames or more.
            So the disk takes this much, and what the running tasks write.
        progress: told what the engine tells.
    """
    finished: dict[int, int] = {}  # position -> bytes, of outcomes that were not handed on yet
    waiting_bytes = 0  # of these outcomes
    running: dict[str, int] = {}  # folder name -> position
    begun = 0
    for position, task in enumerate(tasks):
        while position not in finished:
            while begun < len(tasks) and len(running) < engine.workers and waiting_bytes < held_bytes:
                if tasks[begun].finished:
                    finished[begun] = tasks[begun].num_bytes
                    waiting_bytes += finished[begun]
                else:
                    running[tasks[begun].folder.name] = begun
                    engine.submit(tasks[begun])
                begun += 1
            if position not in finished:
                for done in engine.wait(progress):
                    number = running.pop(done.folder.name)
                    finished[number] = done.num_bytes
                    waiting_bytes += finished[number]
        waiting_bytes -= finished.pop(position)
        yield task

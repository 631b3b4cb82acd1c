"""The inline engine: tasks are done in this process, one after the other, for debugging and tests.

There is nothing between a library that crashes on a broken picture and the run.
"""

from collections import deque

from training.corpus.decoder_process import DecoderProcess, DecodingSettings
from training.corpus.work.task import Progress, Task


class InlineEngine:
    """Does a task when it is waited for."""

    workers = 1

    def __init__(self, decoding: DecodingSettings) -> None:
        self._decoder = DecoderProcess(decoding)
        self._tasks: deque[Task] = deque()

    def __enter__(self) -> "InlineEngine":
        return self

    def __exit__(self, *_: object) -> None:
        self._decoder.stop()

    def submit(self, task: Task) -> None:
        """See `Engine`."""
        self._tasks.append(task)

    def wait(self, progress: Progress) -> list[Task]:
        """See `Engine`."""
        task = self._tasks.popleft()
        task.run(self._decoder, lambda frames, num_bytes: progress(task, frames, num_bytes))
        return [task]

"""`FrameQueue`: a few decoded frames between the thread that decodes and the one that recognises."""

import threading
from collections import deque
from typing import NamedTuple

import torch

POLICIES = ("block", "drop_oldest")


class StreamFrame(NamedTuple):
    """A decoded frame on its way to the models."""

    number: int  # of the frame in the source, from 0
    order: int  # place among the frames that were put into the queue, from 0: where it jumps, frames were dropped
    timestamp: float  # seconds since the first frame of the source
    pixels: torch.Tensor  # uint8 (height, width, 3), RGB
    segment: int  # how often the source had been lost before
    decode_seconds: float | None  # `None`: an iterator, which does not say
    arrived: float  # `time.perf_counter()` when it was decoded


class FrameQueue:
    """At most `size` frames, put by one thread and taken by another.

    When it is full, `"block"` makes the source wait, and `"drop_oldest"` gives up the frame that has waited longest:
    what is taken next is then never older than `size` frames.
    """

    def __init__(self, size: int, policy: str) -> None:
        self.size = size
        self.policy = policy
        self._frames: deque[StreamFrame] = deque()
        self._changed = threading.Condition()
        self._error: BaseException | None = None
        self._is_finished = False
        self._is_closed = False
        self._offered = 0
        self._dropped = 0

    def counts(self) -> tuple[int, int]:
        """Frames put and dropped, at one moment."""
        with self._changed:
            return self._offered, self._dropped

    def put(self, frame: StreamFrame) -> bool:
        """Add a frame; false if nobody takes frames any more."""
        with self._changed:
            if self.policy == "block":
                self._changed.wait_for(lambda: len(self._frames) < self.size or self._is_closed)
            if self._is_closed:
                return False
            if len(self._frames) == self.size:
                self._frames.popleft()
                self._dropped += 1
            self._frames.append(frame)
            self._offered += 1
            self._changed.notify_all()
            return True

    def get(self) -> StreamFrame | None:
        """The next frame, waiting for one; `None` after the last, or when the queue was closed.

        Raises:
            Exception: The one that ended the source, after the frames before it.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._is_finished or self._is_closed)
            if self._frames:
                frame = self._frames.popleft()
                self._changed.notify_all()
                return frame
            error, self._error = self._error, None
        if error is not None:
            raise error
        return None

    def finish(self, error: BaseException | None = None) -> None:
        """No frames will follow, because of `error` or because the source has ended."""
        with self._changed:
            self._is_finished, self._error = True, error
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody will take frames any more, and those that wait are forgotten; wakes up whoever waits."""
        with self._changed:
            self._is_closed = True
            self._frames.clear()
            self._changed.notify_all()


__all__ = ["POLICIES", "FrameQueue", "StreamFrame"]

"""The thread that reads a source: numbers and times of frames, their rate, and what to do when the source is lost."""

import contextlib
import logging
import math
import threading
import time
from dataclasses import dataclass

from modeling_zen.streaming.frame_queue import FrameQueue, StreamFrame
from modeling_zen.streaming.sources import Grab, Source, SourceLostError

logger = logging.getLogger(__name__)

_TICK_TOLERANCE = 1e-6  # of the interval between two samples, for times that are no binary fractions
_LONGEST_GAP = 4  # intervals between two samples; longer ones are outages and say nothing about the rate
_GAP_WEIGHT = 0.1  # of the last gap between two frames in their mean
# Seconds that the times of a live source may run ahead of its arrivals from one frame to the next: above the gaps of a
# recording that is sent faster than it plays, below what a damaged or another clock would add to all times to come.
_LONGEST_LEAP = 10.0


@dataclass(frozen=True)
class Reconnect:
    """When a source counts as lost, and how long to wait for it.

    Raises:
        ValueError: A negative number, a timeout or delay of nothing, or an endless one.
    """

    attempts: int = 10  # in a row without a frame; with these delays some 150 s: time to plug in a cable. 0: none
    first_delay: float = 0.5  # seconds before the first; each further delay is twice the one before
    max_delay: float = 30.0  # seconds; a source that is back is found within half a minute
    timeout: float = 5.0  # seconds without a frame: above the pauses of a loaded network, below what a team waits for

    def __post_init__(self) -> None:
        is_timeout = 0 < self.timeout < math.inf
        if self.attempts < 0 or not is_timeout or not 0 < self.first_delay <= self.max_delay < math.inf:
            raise ValueError(
                f"reconnect needs attempts >= 0, timeout > 0 and 0 < first_delay <= max_delay, all finite, got {self}"
            )

    def delay(self, attempt: int) -> float:
        """Seconds before this attempt, from 1."""
        return min(self.first_delay * 2.0 ** min(attempt - 1, 60), self.max_delay)


class Clock:
    """Seconds since the first frame, on the clock of the source where it has one.

    A source that comes back may count from another number, and one without times counts not at all: its frames are
    then placed by the time at which they arrive, so that an outage takes as long as it took.
    """

    def __init__(self) -> None:
        self._start: float | None = None  # arrival of the first frame
        self._offset: float | None = None  # what to add to the source's time; `None`: not known yet
        self.last = 0.0

    def restart(self) -> None:
        """The next time is on another clock."""
        self._offset = None

    def step_back(self, seconds: float | None) -> float:
        """Seconds from a frame at `seconds` of the source to the one before; 0 or less where they ascend."""
        if seconds is None or self._offset is None:
            return 0.0
        return self.last - (seconds + self._offset)

    def place(self, seconds: float | None, arrived: float) -> float:
        """Seconds since the first frame; never less than of the frame before."""
        is_first = self._start is None
        if self._start is None:
            self._start = arrived
        by_arrival = arrived - self._start
        if seconds is not None and self._offset is None:
            self._offset = by_arrival - seconds if is_first else max(by_arrival, self.last) - seconds
        placed = by_arrival if seconds is None or self._offset is None else seconds + self._offset
        self.last = placed if is_first else max(placed, self.last)
        return self.last


class Sampler:
    """Which frames of a running source to take for `fps` a second: those nearest to the times 0, 1/fps, 2/fps, ...

    The next frame is expected after as long as the last ones took on average. At a constant rate the choice is that of
    `sample_indices`, which knows all frames. A rate above the source's takes every frame.
    """

    def __init__(self, fps: float | None) -> None:
        self._fps = fps
        self._tick = -1  # the last one that has its frame
        self._before: float | None = None
        self._gap = 0.0  # seconds between frames, a running mean

    def takes(self, seconds: float) -> bool:
        """Whether the frame at `seconds` is wanted."""
        if self._fps is None:
            return True
        if self._before is not None:
            gap = min(seconds - self._before, _LONGEST_GAP / self._fps)
            # Arrivals jitter; were each gap believed, frames that come early would be passed over.
            self._gap += (gap - self._gap) * (_GAP_WEIGHT if self._gap else 1)
        self._before = seconds
        half = min(self._gap, 1 / self._fps) / 2
        if (seconds + half) * self._fps + _TICK_TOLERANCE < self._tick + 1:
            return False
        self._tick = max(int(seconds * self._fps + _TICK_TOLERANCE), self._tick + 1)
        return True


class Capture:
    """Reads a source in a thread of its own and puts its frames into a queue.

    Args:
        source: What to read.
        queue: Where to put frames.
        fps: Frames per second to take; `None` takes all. For a source that is not sampled itself.
        paced: Whether to give frames out no earlier than a live source would.
        reconnect: What to do when the source is lost.
    """

    def __init__(
        self, source: Source, queue: FrameQueue, *, fps: float | None, paced: bool, reconnect: Reconnect
    ) -> None:
        self.source = source
        self.queue = queue
        self.frames_read = 0
        self.losses = 0
        self.reconnects = 0
        self.seconds_lost = 0.0
        self.sampled_seconds = 0.0  # between neighboring sampled frames, summed, outages left out
        self.sampled_steps = 0
        self.first_arrival: float | None = None
        self._last_arrival = 0.0
        self._paced = paced
        self._reconnect = reconnect
        self._sampler = Sampler(fps)
        self._clock = Clock()
        self._segment = 0
        self._order = 0
        self._number = -1
        self._last_sampled: tuple[int, float] | None = None  # segment and timestamp
        self._is_away = False
        self._stop = threading.Event()
        self._starting = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="zen-stream-capture", daemon=True)

    def start(self) -> None:
        """Begin to read, unless it was closed before."""
        with self._starting:
            if not self._stop.is_set():
                self._thread.start()

    def close(self) -> None:
        """End the thread, wait for it, and close the source.

        A source that blocks is waited for until its timeout; if it is an iterator of the caller that never returns,
        the thread is left behind with a warning.
        """
        with self._starting:
            self._stop.set()
        self.queue.close()
        if self._thread is threading.current_thread():
            return
        if self._thread.ident is not None:
            self._thread.join(timeout=2 * self._reconnect.timeout + 5)
        if self._thread.is_alive():
            logger.warning("%s does not answer; the thread that reads it is left behind", self.source.name)
        else:
            self.source.close()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self._read()
        except BaseException as raised:
            error = raised  # it belongs to whoever takes the frames
        finally:
            self.queue.finish(error)

    def _read(self) -> None:
        attempt = 0
        while True:
            read_before = self.frames_read
            try:
                with contextlib.closing(self.source.frames(self._stop)) as frames:  # type: ignore[type-var]
                    for grab in frames:
                        if self._stop.is_set() or not self._accept(grab):
                            return
                return
            except SourceLostError as error:
                if self._stop.is_set():
                    return
                attempt = 1 if self.frames_read > read_before else attempt + 1
                self._note_loss(error, attempt)
            if self._stop.wait(self._reconnect.delay(attempt)):
                return

    def _note_loss(self, error: SourceLostError, attempt: int) -> None:
        """Count a loss; raise if this is the end."""
        if not self.frames_read or not self.source.can_return:
            raise error  # what was never there is a mistake, such as in the address
        if not self._is_away:
            self._is_away = True
            self.losses += 1
        if attempt > self._reconnect.attempts:
            tries = f"{attempt - 1} attempts to restore it failed" if attempt > 1 else "no attempt was wanted"
            raise ConnectionError(f"{error}; {tries}") from error
        logger.warning("%s; attempt %d in %g s", error, attempt, self._reconnect.delay(attempt))

    def _accept(self, grab: Grab) -> bool:
        """Number, place, sample and hand on a frame; false if nobody wants more."""
        arrived = time.perf_counter()
        step_back = self._clock.step_back(grab.seconds)
        leap = -step_back - (arrived - self._last_arrival)
        self._last_arrival = arrived
        is_restart = self.source.can_restart and leap > _LONGEST_LEAP
        if (step_back > self.source.step_back_allowed or is_restart) and not self._is_away:
            if not self.source.can_restart:
                raise ValueError(
                    f"the times of {self.source.name} must ascend, but frame {self._number + 1} is {step_back:g} s "
                    "before the one before it"
                )
            self._is_away = True  # the sender was restarted, too quickly to be missed
            self.losses += 1
        before = self._clock.last
        if self._is_away:
            self._clock.restart()
        timestamp = self._clock.place(grab.seconds, arrived)
        if self._is_away:
            self._is_away = False
            self._segment += 1
            self.reconnects += 1
            self.seconds_lost += timestamp - before
        if self.first_arrival is None:
            self.first_arrival = arrived
        self.frames_read += 1
        self._number = self._number + 1 if grab.number is None else grab.number
        if not self._sampler.takes(timestamp):
            return True
        if self._paced:
            if self._stop.wait(max(0.0, self.first_arrival + timestamp - time.perf_counter())):
                return False
            arrived = time.perf_counter()
        if self._last_sampled is not None and self._last_sampled[0] == self._segment:
            self.sampled_seconds += timestamp - self._last_sampled[1]
            self.sampled_steps += 1
        self._last_sampled = (self._segment, timestamp)
        frame = StreamFrame(
            self._number, self._order, timestamp, grab.pixels, self._segment, grab.decode_seconds, arrived
        )
        self._order += 1
        return self.queue.put(frame)


__all__ = ["Capture", "Clock", "Reconnect", "Sampler"]

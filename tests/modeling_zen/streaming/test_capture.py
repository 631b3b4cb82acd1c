"""Times and rates of frames, and what happens when a source goes away."""

import itertools
import random
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from modeling_zen import ZenImageProcessor, ZenModel
from modeling_zen.streaming import Reconnect, ZenStream
from modeling_zen.streaming.capture import Capture, Clock, Sampler
from modeling_zen.streaming.frame_queue import FrameQueue, StreamFrame
from modeling_zen.streaming.sources import Grab, Source
from modeling_zen.video_sampling_zen import sample_indices

from .streaming_frames import striped_frames

QUICK = Reconnect(attempts=3, first_delay=0.001, max_delay=0.002)


class TimedSource(Source):
    """A live source that states these times."""

    name = "the clock"
    is_live = can_restart = can_return = True
    step_back_allowed = 1.0

    def __init__(self, seconds: list[float]) -> None:
        self.is_open = True
        self._seconds = seconds

    def frames(self, stop: threading.Event) -> Iterator[Grab]:
        for seconds in self._seconds:
            yield Grab(None, seconds, torch.zeros(2, 2, 3, dtype=torch.uint8), None)

    def close(self) -> None:
        self.is_open = False


def captured(seconds: list[float]) -> tuple[Capture, list[StreamFrame]]:
    """All frames of a `TimedSource`."""
    capture = Capture(TimedSource(seconds), FrameQueue(100, "block"), fps=None, paced=False, reconnect=QUICK)
    capture.start()
    frames = list(iter(capture.queue.get, None))
    capture.close()
    return capture, frames


@pytest.mark.parametrize(
    ("native", "fps"), [(25, 1), (25, 5), (25, 7), (30, 25), (29.97, 10), (60, 24), (25, 25), (30, 29.9), (10, 0.3)]
)
def test_a_running_source_is_sampled_as_a_file(native: float, fps: float) -> None:
    sampler = Sampler(fps)
    taken = [number for number in range(500) if sampler.takes(number / native)]
    right = sample_indices(500, native, fps=fps)
    assert taken[: len(right)] == right
    assert len(taken) - len(right) in (0, 1)  # that the last frame is the last, only a file knows


def test_jitter_loses_no_tick_and_takes_none_twice() -> None:
    jitter = random.Random(0)
    sampler = Sampler(25)
    times = [number / 25 + jitter.uniform(-0.008, 0.008) for number in range(1000)]
    assert 990 <= sum(sampler.takes(seconds - times[0]) for seconds in times) <= 1000


def test_a_rate_above_that_of_the_source_takes_every_frame() -> None:
    sampler = Sampler(100)
    assert all(sampler.takes(number / 25) for number in range(50))


def test_clock_places_frames_by_the_source_and_outages_by_arrival() -> None:
    clock = Clock()
    # The source counts from 100; arrivals are late by some hundredths.
    assert [clock.place(100 + n, 7 + n + late) for n, late in enumerate((0.0, 0.03, 0.01))] == [0, 1, 2]
    assert clock.step_back(101.5) == pytest.approx(0.5)
    clock.restart()
    assert clock.step_back(1.4) == 0
    assert clock.place(1.4, 19.0) == pytest.approx(12)  # 12 s after the first arrival
    assert clock.place(2.4, 25.0) == pytest.approx(13)
    assert clock.place(2.3, 25.0) == pytest.approx(13)  # never back
    assert clock.place(None, 27.0) == pytest.approx(20)


def test_seconds_of_an_iterator_are_its_timestamps(model: ZenModel, processor: ZenImageProcessor) -> None:
    pairs = [(5.0 + n / 8, frame) for n, frame in enumerate(striped_frames(8))]
    with ZenStream(pairs, model, processor=processor) as stream:
        assert [result.timestamp for result in stream] == [n / 8 for n in range(8)]
    with ZenStream(pairs, model, processor=processor, fps=4) as stream:
        assert [result.frame for result in stream] == [0, 2, 4, 6]
        assert stream.report().frames_read == 8


def test_frames_of_an_iterator_without_seconds_are_placed_by_arrival(
    model: ZenModel, processor: ZenImageProcessor
) -> None:
    with ZenStream(striped_frames(4), model, processor=processor) as stream:
        times = [result.timestamp for result in stream]
    assert times[0] == 0
    assert all(later >= earlier for earlier, later in itertools.pairwise(times))


def test_frames_are_copied(model: ZenModel, processor: ZenImageProcessor) -> None:
    def source() -> Iterator[Any]:
        for frame in striped_frames(3):
            buffer[:] = frame
            yield buffer
            tensor[:] = torch.from_numpy(frame)
            yield tensor

    buffer = np.empty_like(striped_frames(1)[0])
    tensor = torch.empty(buffer.shape, dtype=torch.uint8)
    with ZenStream(source(), model, processor=processor, queue_size=8) as stream:
        found = [result.embedding for result in stream]
    with ZenStream(striped_frames(3), model, processor=processor) as stream:
        right = [result.embedding for result in stream]
    assert all(torch.equal(found[n], right[n // 2]) for n in range(6))


def test_a_source_that_does_not_come_back_is_an_error(model: ZenModel, processor: ZenImageProcessor) -> None:
    def connect() -> Iterator[np.ndarray]:
        tries.append(1)
        if len(tries) == 1:
            yield from striped_frames(2)
        raise OSError("no signal")

    tries: list[int] = []
    stream = ZenStream(connect, model, processor=processor, reconnect=QUICK)
    assert [next(stream).frame for _ in range(2)] == [0, 1]
    with pytest.raises(ConnectionError, match="OSError: no signal; 3 attempts to restore it failed"):
        next(stream)
    report = stream.report()
    assert (len(tries), report.losses, report.reconnects, report.frames_processed) == (4, 1, 0, 2)


def test_attempts_are_counted_anew_after_each_return(model: ZenModel, processor: ZenImageProcessor) -> None:
    def connect() -> Iterator[np.ndarray]:
        tries.append(1)
        if len(tries) % 3 == 0 or len(tries) == 1:
            yield from striped_frames(1)
        if len(tries) < 12:
            raise OSError("no signal")

    tries: list[int] = []
    with ZenStream(connect, model, processor=processor, reconnect=QUICK) as stream:
        segments = [result.segment for result in stream]
    assert segments == [0, 1, 2, 3, 4]
    report = stream.report()
    assert (report.losses, report.reconnects, report.gaps) == (4, 4, 4)


def test_no_attempts_may_be_wanted(model: ZenModel, processor: ZenImageProcessor) -> None:
    def connect() -> Iterator[np.ndarray]:
        yield from striped_frames(1)
        raise OSError("no signal")

    with (
        pytest.raises(ConnectionError, match="no signal; no attempt was wanted"),
        ZenStream(connect, model, processor=processor, reconnect=Reconnect(attempts=0)) as stream,
    ):
        list(stream)


def test_a_source_that_was_never_there_is_not_waited_for(model: ZenModel, processor: ZenImageProcessor) -> None:
    def connect() -> Iterator[np.ndarray]:
        raise OSError("no such card")

    with (
        pytest.raises(ConnectionError, match=r"failed after 0 frames: OSError: no such card$"),
        ZenStream(connect, model, processor=processor) as stream,
    ):
        list(stream)


def test_closing_does_not_wait_for_the_next_attempt(model: ZenModel, processor: ZenImageProcessor) -> None:
    failed = threading.Event()

    def connect() -> Iterator[np.ndarray]:
        yield from striped_frames(1)
        failed.set()
        raise OSError("no signal")

    patient = Reconnect(first_delay=1000, max_delay=1000)
    with ZenStream(connect, model, processor=processor, reconnect=patient) as stream:
        next(stream)
        assert failed.wait(60)


def test_times_of_an_iterator_must_ascend(model: ZenModel, processor: ZenImageProcessor) -> None:
    first, second = striped_frames(2)
    stream = ZenStream([(3.0, first), (2.5, second)], model, processor=processor)
    next(stream)
    with pytest.raises(ValueError, match=r"must ascend, but frame 1 is 0\.5 s before the one before it"):
        next(stream)


def test_delays_double_up_to_a_limit() -> None:
    reconnect = Reconnect(first_delay=0.5, max_delay=6)
    assert [reconnect.delay(attempt) for attempt in range(1, 7)] == [0.5, 1, 2, 4, 6, 6]
    assert reconnect.delay(10**6) == 6


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": -1},
        {"timeout": 0},
        {"timeout": float("inf")},
        {"first_delay": 0},
        {"max_delay": 0.1},
        {"max_delay": float("inf")},
    ],
)
def test_wrong_settings_of_reconnect(wrong: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError,
        match="reconnect needs attempts >= 0, timeout > 0 and 0 < first_delay <= max_delay, all finite, got Reconnect",
    ):
        Reconnect(**wrong)


def test_a_damaged_time_of_a_live_source_does_not_stay() -> None:
    capture, frames = captured([7.0, 7.1, 40_007.2, 7.3, 7.4, 7.5])
    assert [frame.segment for frame in frames] == [0, 0, 1, 2, 2, 2]
    assert frames[-1].timestamp < 5
    assert capture.sampled_seconds < 5
    assert (capture.losses, capture.reconnects) == (2, 2)


def test_a_live_source_restarted_nearly_unnoticed_goes_on_in_a_new_segment() -> None:
    capture, frames = captured([500.0, 500.1, 0.0, 0.1])
    assert [frame.segment for frame in frames] == [0, 0, 1, 1]
    assert frames[3].timestamp == pytest.approx(frames[2].timestamp + 0.1)
    assert frames[-1].timestamp < 5
    assert (capture.losses, capture.reconnects) == (1, 1)


def test_gaps_of_a_recording_that_is_sent_faster_than_it_plays_are_no_losses() -> None:
    capture, frames = captured([0.0, 5.0, 14.0, 13.5])
    assert [frame.timestamp for frame in frames] == [0, 5, 14, 14]
    assert (capture.losses, capture.reconnects) == (0, 0)


def test_what_is_closed_before_its_start_never_starts() -> None:
    source = TimedSource([0.0])
    capture = Capture(source, FrameQueue(1, "block"), fps=None, paced=False, reconnect=QUICK)
    capture.close()
    capture.start()
    assert not source.is_open
    assert (capture.frames_read, capture.queue.get()) == (0, None)


def test_a_closed_queue_holds_no_frames() -> None:
    queue = FrameQueue(2, "drop_oldest")
    frames = [StreamFrame(n, n, 0.0, torch.zeros(1, 1, 3, dtype=torch.uint8), 0, None, 0.0) for n in range(3)]
    assert [queue.put(frame) for frame in frames] == [True] * 3
    assert queue.counts() == (3, 1)
    queue.close()
    assert queue.get() is None
    assert not queue.put(frames[0])
    assert queue.counts() == (3, 1)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), "soon"])
def test_a_time_that_is_none(seconds: Any, model: ZenModel, processor: ZenImageProcessor) -> None:
    frame = striped_frames(1)[0]
    stream = ZenStream(lambda: [(0.0, frame), (seconds, frame)], model, processor=processor, reconnect=QUICK)
    next(stream)
    with pytest.raises(
        ValueError, match=rf"^the time of frame 1 of the iterator must be a finite number of seconds, not {seconds!r}$"
    ):
        next(stream)

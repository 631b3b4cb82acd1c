"""What `ZenStream.report()` says: frames, losses, latencies, and how they compare with real time."""

import math
from collections import Counter
from dataclasses import dataclass

_RESOLUTION = 1.01  # neighboring bins of a histogram differ by 1 %
_SMALLEST = 1e-6  # seconds; below, clocks say nothing


@dataclass(frozen=True)
class StreamReport:
    """A stream so far. Durations in milliseconds have a resolution of 1 %; `None` where there was no frame yet.

    Attributes:
        source: Path, URL or kind of the source.
        backend: What decodes it: decord, pyav, torchcodec or iterator; "" before the first frame.
        policy: `"block"` or `"drop_oldest"`.
        frames_read: Decoded frames. Of a file that is sampled, only the frames that are wanted are read.
        frames_sampled: Of those, the frames at the rate asked for.
        frames_processed: Of those, the frames that there are results of.
        frames_dropped: Sampled frames that were given up because the queue was full.
        frames_waiting: Sampled frames without a result so far, in the queue or with the models; frames_sampled is the
            sum of processed, dropped and waiting.
        packets_damaged: Packets of a live source that its decoder refused.
        gaps: How often frames were missing between two results, dropped or lost with the source.
        losses: How often the source was lost.
        reconnects: How often it was restored.
        seconds_lost: Seconds without a source, from the last frame before to the first frame after, summed.
        state_resets: How often the temporal state was begun anew after a gap.
        latency_p50_ms: From the arrival of a frame (the end of its decoding) to its result, median.
        latency_p95_ms: Likewise, 95th percentile.
        latency_p99_ms: Likewise, 99th percentile.
        latency_max_ms: Likewise, the longest, exactly.
        decode_ms: Decoding of a frame, mean; `None` for iterators.
        waiting_ms: A frame in the queue, mean.
        preprocess_ms: Image processor, mean.
        encoder_ms: Encoder, mean.
        heads_ms: Heads, mean.
        video_seconds: Video that the results stand for: frames processed times the seconds between sampled frames.
        wall_seconds: From the arrival of the first frame to the last result.
        real_time_factor: `video_seconds / wall_seconds`: of a live source 1 where nothing is dropped; of a file that is
            not paced, how many times faster than it plays. `None` before the second frame.
        frames_per_second: `frames_processed / wall_seconds`.
        possible_frames_per_second: `1 / mean seconds` from taking a frame to its result: what the models could do if
            they never had to wait.
    """

    source: str
    backend: str
    policy: str
    frames_read: int
    frames_sampled: int
    frames_processed: int
    frames_dropped: int
    frames_waiting: int
    packets_damaged: int
    gaps: int
    losses: int
    reconnects: int
    seconds_lost: float
    state_resets: int
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    latency_p99_ms: float | None
    latency_max_ms: float | None
    decode_ms: float | None
    waiting_ms: float | None
    preprocess_ms: float | None
    encoder_ms: float | None
    heads_ms: float | None
    video_seconds: float
    wall_seconds: float
    real_time_factor: float | None
    frames_per_second: float | None
    possible_frames_per_second: float | None


class Durations:
    """Any number of durations in little memory: sum, maximum, and a histogram whose bins are 1 % wide."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.longest = 0.0
        self._bins: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        """Count one."""
        self.count += 1
        self.total += seconds
        self.longest = max(self.longest, seconds)
        self._bins[math.floor(math.log(max(seconds, _SMALLEST)) / math.log(_RESOLUTION))] += 1

    def mean_ms(self) -> float | None:
        """In milliseconds; `None` of nothing."""
        return 1e3 * self.total / self.count if self.count else None

    def percentile_ms(self, percent: float) -> float | None:
        """The smallest duration that at least `percent` of them do not exceed, within 1 %; `None` of nothing."""
        if not self.count:
            return None
        wanted = math.ceil(self.count * percent / 100)
        for place, count in sorted(self._bins.items()):
            wanted -= count
            if wanted <= 0:
                return 1e3 * min(_RESOLUTION ** (place + 0.5), self.longest)
        return 1e3 * self.longest


__all__ = ["Durations", "StreamReport"]

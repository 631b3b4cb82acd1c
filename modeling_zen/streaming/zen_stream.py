"""`ZenStream`: results of a running video, frame by frame, as they come."""

import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import torch

from modeling_zen.export.runtime import ZenExportedModel
from modeling_zen.modeling_zen import ZenModel
from modeling_zen.modeling_zen_video import ZenForVideoFrameClassification
from modeling_zen.streaming.capture import Capture, Reconnect
from modeling_zen.streaming.frame_queue import POLICIES, FrameQueue, StreamFrame
from modeling_zen.streaming.recognizer import FrameRecognizer, PresenceHead
from modeling_zen.streaming.report import Durations, StreamReport
from modeling_zen.streaming.sources import make_source

State = Literal["new", "carried", "kept", "reset"]
_STEPS = ("latency", "decode", "waiting", "preprocess", "encoder", "heads")


@dataclass(frozen=True, eq=False)
class StreamResult:
    """What there is to say about a frame.

    Attributes:
        frame: Number of the frame in the source, from 0; of a live source, among the frames that arrived.
        timestamp: Seconds since the first frame.
        embedding: (hidden,), float32, CPU: `pooler_output` of the encoder.
        phase_probabilities: (phases,), float32, CPU, sum 1; `None` without a phase head.
        presence_probabilities: (labels,), float32, CPU, 0 to 1 each; `None` without a presence head.
        state: What the temporal heads remembered when they saw the frame. `"new"`: nothing, it is the first;
            `"carried"`: all frames up to the one before; `"kept"`: frames before a gap; `"reset"`: nothing any more,
            because the gap was too long.
        dropped_before: Frames dropped between the last result and this one.
        segment: How often the source had been lost before.
        latency_ms: From the arrival of the frame (the end of its decoding) to this result.
        waiting_ms: In the queue.
        preprocess_ms: Image processor.
        encoder_ms: Encoder.
        heads_ms: Heads.
        decode_ms: Its decoding, before it arrived; `None` for iterators.
    """

    frame: int
    timestamp: float
    embedding: torch.Tensor
    phase_probabilities: torch.Tensor | None
    presence_probabilities: torch.Tensor | None
    state: State
    dropped_before: int
    segment: int
    latency_ms: float
    waiting_ms: float
    preprocess_ms: float
    encoder_ms: float
    heads_ms: float
    decode_ms: float | None = None


@dataclass
class _Counts:
    """What the consumer counts."""

    processed: int = 0
    gaps: int = 0
    resets: int = 0
    busy: float = 0.0  # seconds from taking frames to their results
    last_result: float = 0.0  # `time.perf_counter()`
    durations: dict[str, Durations] = field(default_factory=lambda: {step: Durations() for step in _STEPS})


class ZenStream:
    """Reads a source in a thread and gives one result per frame; iterate over it.

    The results equal those of the same frames put through the processor and the models at once. A temporal head counts
    frames, not seconds: run it at the `fps` that it was trained at, and note that a dropped frame is a frame that it
    does not see, so that time passes faster for it. Its memory outlives gaps of up to `state_max_gap` seconds.

    Closing (by `close`, the end of a `with` block, or the end of the source) stops the thread.

    Args:
        source: A video file; a URL that FFmpeg reads (`rtsp://`, `udp://`, `http://`, ...); a camera (its number, or
            `/dev/videoN`); an iterator of frames, uint8 (height, width, 3) RGB or pairs of (seconds, frame); or a
            function that makes such an iterator, anew whenever it fails.
        encoder: A `ZenModel`, or a `ZenExportedModel`, which on CPUs is several times faster in int8.
        processor: The `ZenImageProcessor` of the encoder.
        phase_head: One label per frame, from the frames so far. Its trunk must be the encoder.
        presence_head: Several labels per frame: a `ZenForImageClassification` or `ZenForVideoFrameClassification` with
            `problem_type="multi_label_classification"`. Likewise.
        fps: Frames per second to recognise, the ones nearest to those times; `None` is every frame. A file of a lower
            rate is refused; of a live source, whose rate is hearsay, every frame is then taken.
        queue_size: Frames that may wait. 4: a stall of 160 ms at 25 frames/s loses nothing, and no frame is older than
            four others when its turn comes.
        policy: What to do when the queue is full. `"block"`: the source waits; a live source that must wait loses
            frames where nobody counts them. `"drop_oldest"`: the frame that waited longest is dropped and counted.
            `None`: `"drop_oldest"` where frames come by themselves (camera, network, `realtime`), otherwise `"block"`.
        realtime: Give the frames of a file at the pace at which it plays, as if it were live.
        reconnect: When a live source is lost and how to wait for it. Its frames go on in a new `segment`.
        state_max_gap: Seconds of missing frames, dropped or lost with the source, after which the temporal heads begin
            anew. 60: what they remember is still the same scene after a replugged cable or a cleaned lens, and
            describes little of now after minutes; 0 always begins anew, `math.inf` never.
        options: For FFmpeg, with a URL or a camera, such as `{"rtsp_transport": "udp"}` or
            `{"video_size": "1280x720"}`.

    Raises:
        FileNotFoundError: There is no such file or camera.
        ImportError: There is no decoder for the source.
        ValueError: An unknown policy, a number out of range, a source that is none, or as `FrameRecognizer`.

    Errors of the source while it runs come out of the iteration, after the results before them: `ConnectionError` when
    a live source cannot be opened or restored, `ValueError` when a file is damaged or an iterator fails.

    Example:
        >>> frames = torch.zeros(3, 48, 64, 3, dtype=torch.uint8)
        >>> with ZenStream(frames, encoder.eval(), processor=ZenImageProcessor()) as stream:  # doctest: +SKIP
        ...     for result in stream:
        ...         print(result.frame, result.embedding.shape)
        >>> stream.report().latency_p95_ms  # doctest: +SKIP
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | int | Iterable[Any] | Callable[[], Iterable[Any]],
        encoder: ZenModel | ZenExportedModel,
        *,
        processor: Any,
        phase_head: ZenForVideoFrameClassification | None = None,
        presence_head: PresenceHead | None = None,
        fps: float | None = None,
        queue_size: int = 4,
        policy: Literal["block", "drop_oldest"] | None = None,
        realtime: bool = False,
        reconnect: Reconnect | None = None,
        state_max_gap: float = 60.0,
        options: Mapping[str, str] | None = None,
    ) -> None:
        if policy is not None and policy not in POLICIES:
            raise ValueError(f"unknown policy {policy!r}; there are {', '.join(POLICIES)}")
        if queue_size < 1:
            raise ValueError(f"queue_size must be at least 1, not {queue_size}")
        if fps is not None and not 0 < fps < math.inf:
            raise ValueError(f"fps must be above 0 and finite, not {fps}")
        if not state_max_gap >= 0:
            raise ValueError(f"state_max_gap must be at least 0 s, not {state_max_gap}")
        reconnect = reconnect or Reconnect()
        self._recognizer = FrameRecognizer(encoder, processor, phase_head, presence_head)
        self._source = make_source(source, fps=fps, realtime=realtime, timeout=reconnect.timeout, options=options)
        is_live = self._source.is_live or realtime
        self._queue = FrameQueue(queue_size, policy or ("drop_oldest" if is_live else "block"))
        is_sampled = isinstance(source, str | os.PathLike) and not self._source.is_live  # a file samples itself
        self._capture = Capture(
            self._source, self._queue, fps=None if is_sampled else fps, paced=realtime, reconnect=reconnect
        )
        self._state_max_gap = state_max_gap
        self._counts = _Counts()
        self._last: StreamFrame | None = None
        self._starting = threading.Lock()
        self._is_started = False
        # A stream that is forgotten without being closed leaves no thread behind.
        self._finalizer = weakref.finalize(self, self._capture.close)

    @property
    def phase_labels(self) -> list[str] | None:
        """Names of `phase_probabilities`; `None` without a phase head."""
        return _labels(self._recognizer.phase_head)

    @property
    def presence_labels(self) -> list[str] | None:
        """Names of `presence_probabilities`; `None` without a presence head."""
        return _labels(self._recognizer.presence_head)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> StreamResult:
        self.start()
        try:
            frame = self._queue.get()
            if frame is not None:
                return self._process(frame)
        except Exception:
            self.close()
            raise
        self.close()
        raise StopIteration

    def start(self) -> None:
        """Begin to read the source; iterating does that by itself. A second call does nothing.

        The models see a black frame first, so that no frame of the source waits for what they do once.
        """
        with self._starting:
            if self._is_started or not self._finalizer.alive:
                return
            try:
                black = self._recognizer.preprocess(torch.zeros(64, 64, 3, dtype=torch.uint8))
                self._recognizer.recognize(self._recognizer.encode(black))
                self._recognizer.forget()
            except Exception:
                self.close()
                raise
            self._is_started = True
            self._capture.start()

    def close(self) -> None:
        """Stop reading and wait for the thread; what waits in the queue gets no result. A second call does nothing."""
        self._finalizer()

    def report(self) -> StreamReport:
        """The stream so far; at any time, also after it was closed."""
        capture, counts = self._capture, self._counts
        processed = counts.processed  # before the others, which may go on meanwhile
        sampled, dropped = self._queue.counts()
        wall = 0.0 if capture.first_arrival is None else max(0.0, counts.last_result - capture.first_arrival)
        step = capture.sampled_seconds / capture.sampled_steps if capture.sampled_steps else 0.0
        means = {f"{name}_ms": counts.durations[name].mean_ms() for name in _STEPS if name != "latency"}
        latency = counts.durations["latency"]
        return StreamReport(
            source=self._source.name,
            backend=self._source.backend,
            policy=self._queue.policy,
            frames_read=capture.frames_read,
            frames_sampled=sampled,
            frames_processed=processed,
            frames_dropped=dropped,
            frames_waiting=sampled - dropped - processed,
            packets_damaged=self._source.packets_damaged,
            gaps=counts.gaps,
            losses=capture.losses,
            reconnects=capture.reconnects,
            seconds_lost=capture.seconds_lost,
            state_resets=counts.resets,
            latency_p50_ms=latency.percentile_ms(50),
            latency_p95_ms=latency.percentile_ms(95),
            latency_p99_ms=latency.percentile_ms(99),
            latency_max_ms=1e3 * latency.longest if latency.count else None,
            video_seconds=step * processed,
            wall_seconds=wall,
            real_time_factor=step * processed / wall if wall and step else None,
            frames_per_second=processed / wall if wall else None,
            possible_frames_per_second=processed / counts.busy if counts.busy else None,
            **means,
        )

    def _process(self, frame: StreamFrame) -> StreamResult:
        taken = time.perf_counter()
        state, dropped = self._note_gap(frame)
        pixel_values = self._recognizer.preprocess(frame.pixels)
        preprocessed = time.perf_counter()
        outputs = self._recognizer.encode(pixel_values)
        assert outputs.pooler_output is not None
        embedding = outputs.pooler_output[0].float().cpu()  # waits for the device
        encoded = time.perf_counter()
        phase, presence = self._recognizer.recognize(outputs)
        done = time.perf_counter()
        self._last = frame
        seconds = {
            "latency": done - frame.arrived,
            "waiting": taken - frame.arrived,
            "preprocess": preprocessed - taken,
            "encoder": encoded - preprocessed,
            "heads": done - encoded,
        }
        if frame.decode_seconds is not None:
            seconds["decode"] = frame.decode_seconds
        self._count(seconds, busy=done - taken, now=done)
        return StreamResult(
            frame=frame.number,
            timestamp=frame.timestamp,
            embedding=embedding,
            phase_probabilities=phase,
            presence_probabilities=presence,
            state=state,
            dropped_before=dropped,
            segment=frame.segment,
            **{f"{name}_ms": 1e3 * value for name, value in seconds.items()},
        )

    def _note_gap(self, frame: StreamFrame) -> tuple[State, int]:
        """What the heads may remember when they see the frame, and how many were dropped before it."""
        before = self._last
        if before is None:
            return "new", frame.order
        dropped = frame.order - before.order - 1
        if not dropped and frame.segment == before.segment:
            return "carried", 0
        self._counts.gaps += 1
        if frame.timestamp - before.timestamp < self._state_max_gap:
            return "kept", dropped
        self._recognizer.forget()
        self._counts.resets += 1
        return "reset", dropped

    def _count(self, seconds: Mapping[str, float], *, busy: float, now: float) -> None:
        counts = self._counts
        for name, value in seconds.items():
            counts.durations[name].add(value)
        counts.processed += 1
        counts.busy += busy
        counts.last_result = now


def _labels(head: Any) -> list[str] | None:
    return None if head is None else [head.config.id2label[index] for index in range(head.config.num_labels)]


__all__ = ["StreamResult", "ZenStream"]

"""Examples of what was dropped: a few small pictures per reason and video, for the corpus report.

Dropped frames are in no shard, so a report could not show what a filter got wrong. The pictures stay in the journal:
they are not part of the corpus that is read or published. Those that may show faces, rooms or names are stored as a
blur from which nobody can be recognized.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa

from training.errors import UserError

DROP_EXAMPLES_FILE = "drop_examples.parquet"
BLUR_SIDE = 6  # pixels, long side that a picture is shrunk to before it is blown up again: colours stay, shapes do not
_QUALITY = 80  # of the JPEG; about 3 kB at 96 pixels

EXAMPLE_SCHEMA = pa.schema(
    [
        ("input", pa.string()),
        ("path", pa.string()),
        ("video_id", pa.string()),
        ("timestamp", pa.float64()),
        ("reason", pa.string()),
        ("score", pa.float64()),
        ("threshold", pa.float64()),
        ("blurred", pa.bool_()),
        ("jpeg", pa.binary()),
    ]
)


@dataclass(frozen=True)
class DropExampleSettings:
    """Which pictures of dropped frames are kept for `python -m training.corpus_report`."""

    per_reason: int = 3  # per video: the weakest, a middling and the clearest case; 0 keeps none
    per_reason_in_all: int = 200  # of the whole corpus; bounds the journal at about 1 MB per reason
    side: int = 96  # pixels, long side; enough to judge a filter, too few to read a screen
    # Reasons whose pictures are stored as a blur: the ends and the outside show people and rooms, screens show names.
    # A picture from one run of dropped frames with one of these is blurred too, whatever its own reason.
    blurred: tuple[str, ...] = ("out_of_body", "screen", "trim")

    def __post_init__(self) -> None:
        for name, least in (("per_reason", 0), ("per_reason_in_all", 0), ("side", 16)):
            if getattr(self, name) < least:
                raise UserError(
                    f"setting drop_examples.{name}={getattr(self, name)} is too small: it must be at least {least}"
                )


@dataclass(frozen=True)
class DropExample:
    """One row: a dropped frame, small. Names and times are those of its row in drops.parquet."""

    input: str
    path: str
    video_id: str
    timestamp: float  # seconds
    reason: str
    score: float | None
    threshold: float | None
    blurred: bool  # nothing can be recognized, on purpose
    jpeg: bytes


@dataclass(frozen=True)
class Dropped:
    """A dropped sample, and where its encoded image lies."""

    input: str
    path: str
    timestamp: float  # seconds
    reason: str
    score: float | None
    threshold: float | None
    offset: int  # bytes in the file of images
    length: int  # 0: it has no image

    @property
    def distance(self) -> float:
        """How far the score lies from the threshold; 0 without a score."""
        return 0.0 if self.score is None or self.threshold is None else abs(self.score - self.threshold)


def pick_examples(
    samples: Sequence[Dropped | None], images: Path, video_id: str, settings: DropExampleSettings
) -> list[DropExample]:
    """The examples of one unit, by reason, each from the weakest case to the clearest.

    Args:
        samples: of the unit, in time order; `None` for one that is kept.
        images: file of encoded images, one after the other.
        video_id: whose frames they are.
        settings: how many, and how.
    """
    by_reason: dict[str, list[tuple[Dropped, bool]]] = {}
    for sample, hidden in zip(samples, _hidden(samples, settings.blurred), strict=True):
        if sample is not None and sample.length:
            by_reason.setdefault(sample.reason, []).append((sample, hidden))
    examples = []
    with images.open("rb") as spool:
        for reason in sorted(by_reason):
            for sample, hidden in _spread(by_reason[reason], settings.per_reason):
                spool.seek(sample.offset)
                jpeg = _small_jpeg(spool.read(sample.length), settings.side, blurred=hidden)
                names = (sample.input, sample.path, video_id, sample.timestamp)
                examples.append(DropExample(*names, reason, sample.score, sample.threshold, hidden, jpeg))
    return examples


def _hidden(samples: Sequence[Dropped | None], blurred: Sequence[str]) -> list[bool]:
    """Which samples lie in a run of dropped ones that holds a reason to blur."""
    hidden = [False] * len(samples)
    start = 0
    for position, sample in enumerate([*samples, None]):
        if sample is None:
            blur = any(each is not None and each.reason in blurred for each in samples[start:position])
            hidden[start:position] = [blur] * (position - start)
            start = position + 1
    return hidden


def _spread(samples: list[tuple[Dropped, bool]], count: int) -> list[tuple[Dropped, bool]]:
    """Up to `count` samples, evenly from the score nearest to the threshold to the farthest; without scores in time."""
    ordered = sorted(samples, key=lambda item: item[0].distance)
    chosen = np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int)
    return [ordered[index] for index in chosen.tolist()]


def _small_jpeg(encoded: bytes, side: int, *, blurred: bool) -> bytes:
    """An encoded image of the unit as a small JPEG."""
    frame = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    if frame is None:
        raise ValueError(f"{len(encoded)} bytes of a unit's images are no image")
    if blurred:
        small = _shrink(frame, BLUR_SIDE)
        scale = side / max(small.shape[:2])
        size = (max(1, round(small.shape[1] * scale)), max(1, round(small.shape[0] * scale)))
        frame = cv2.resize(small, size, interpolation=cv2.INTER_CUBIC)
    else:
        frame = _shrink(frame, side)
    done, jpeg = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise ValueError(f"OpenCV cannot encode a picture of shape {frame.shape}")
    return jpeg.tobytes()


def _shrink(frame: np.ndarray, side: int) -> np.ndarray:
    """uint8 (H, W, 3) with a long side of at most `side`."""
    scale = side / max(frame.shape[:2])
    if scale >= 1:
        return frame
    size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)

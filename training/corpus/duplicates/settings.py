"""The settings of deduplication."""

import math
from dataclasses import dataclass

from training.corpus.duplicates.hash_search import LARGEST
from training.corpus.duplicates.likeness import MIN_CORRELATION
from training.errors import UserError

ACTIONS = ("flag", "drop")


@dataclass(frozen=True)
class DeduplicationSettings:
    """All settings of `python -m training.deduplicate`."""

    # Bits of 64. JPEG, size and aspect ratio change at most 4; of frames cropped by 1 % on each side 94 % stay within.
    max_distance: int = 4
    min_correlation: float = MIN_CORRELATION  # of thumbnails whose hashes are near; see likeness.py
    min_cosine: float = 0.97  # of embeddings; a starting value of the field, to be looked at in the report
    batch_size: int = 32  # frames embedded at once; part of the result, because sums round differently
    # Samples per second of evaluation videos, above the usual 1 of a corpus: the nearest one is at most 1/8 s away.
    against_fps: float = 4.0
    # "flag" names the benchmark cases in `overlaps` of the manifest; "drop" also takes such clips out of it.
    benchmark_clips: str = "flag"

    def __post_init__(self) -> None:
        if not 0 <= self.max_distance <= LARGEST:
            raise UserError(f"setting max_distance={self.max_distance} must be from 0 to {LARGEST} bits")
        for name in ("min_correlation", "min_cosine"):
            if not 0 < getattr(self, name) <= 1:
                raise UserError(f"setting {name}={getattr(self, name)} must be above 0 and at most 1")
        if self.batch_size < 1:
            raise UserError(f"setting batch_size={self.batch_size} must be at least 1")
        if not 1e-3 <= self.against_fps < math.inf:
            raise UserError(f"setting against_fps={self.against_fps} must be at least 0.001, and finite")
        if self.benchmark_clips not in ACTIONS:
            raise UserError(f"setting benchmark_clips={self.benchmark_clips!r} must be one of {', '.join(ACTIONS)}")

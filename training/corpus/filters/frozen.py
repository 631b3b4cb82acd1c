"""Frozen frames: the picture stands still although time passes (paused recorder, lost signal, still image)."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.corpus.filters.picture import Picture, Timeline


@dataclass(frozen=True)
class FrozenSettings:
    """Settings of the frozen-frame filter."""

    enabled: bool = True
    # Gray levels 0-255. Measured on genuine frames: a frozen picture through H.264, MPEG-2 or MPEG-4 with sensor noise
    # scores 0.0-0.6 at 1 fps; moving laparoscopic video 17 and more at 1 fps, 3.5 and more at 5 fps.
    max_difference: float = 1.0
    # Seconds. Frames closer in time may be alike without being frozen: neighbors at 25 fps score 0.2 and more.
    min_seconds: float = 0.5


class FrozenFilter:
    """Score: mean absolute difference of 32 x 32 gray thumbnails to the previous sample, in gray levels.

    The previous sample is the latest one that is at least `min_seconds` older. Dropped when the score is below
    `max_difference`, so the first frame of a frozen run stays. A sample without a previous one has no score (NaN).
    """

    name = "frozen"

    def __init__(self, settings: FrozenSettings) -> None:
        self.threshold = settings.max_difference
        self._min_seconds = settings.min_seconds
        self._recent: deque[tuple[float, np.ndarray]] = deque()

    def score(self, pictures: Sequence[Picture]) -> list[float]:
        """Difference of each frame to its previous sample."""
        return [self._difference(picture) for picture in pictures]

    def drops(self, scores: np.ndarray, timeline: Timeline) -> np.ndarray:
        """Which samples to drop: bool (N,) for scores (N,). NaN is never dropped."""
        return scores < self.threshold

    def _difference(self, picture: Picture) -> float:
        latest = picture.timestamp - self._min_seconds + 1e-6
        while len(self._recent) > 1 and self._recent[1][0] <= latest:
            self._recent.popleft()
        score = float("nan")
        if self._recent and self._recent[0][0] <= latest:
            score = float(np.abs(picture.thumbnail - self._recent[0][1]).mean())
        self._recent.append((picture.timestamp, picture.thumbnail))
        return score

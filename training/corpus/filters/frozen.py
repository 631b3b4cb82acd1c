"""Frozen frames: the picture stands still although time passes (paused recorder, lost signal, still image)."""

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

THUMBNAIL = 32  # pixels; averaging cells of the frame takes the coding noise out of the difference


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

    def score(self, frame: np.ndarray, timestamp: float) -> float:
        """Difference of one frame, uint8 (H, W, 3) RGB at `timestamp` seconds, to the previous sample."""
        gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        thumbnail = cv2.resize(gray, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).astype(np.float32)
        latest = timestamp - self._min_seconds + 1e-6
        while len(self._recent) > 1 and self._recent[1][0] <= latest:
            self._recent.popleft()
        score = float("nan")
        if self._recent and self._recent[0][0] <= latest:
            score = float(np.abs(thumbnail - self._recent[0][1]).mean())
        self._recent.append((timestamp, thumbnail))
        return score

    def drops(self, scores: np.ndarray) -> np.ndarray:
        """Which samples to drop: bool (N,) for scores (N,). NaN is never dropped."""
        return scores < self.threshold

"""Black frames: lens covered, light off, or blanked by an anonymizer."""

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class BlackSettings:
    """Settings of the black-frame filter."""

    enabled: bool = True
    # Gray levels 0-255. The field's starting value; the darkest of 412 genuine laparoscopic frames has 35.
    min_luma: float = 10.0


class BlackFilter:
    """Score: mean luma (BT.601, gray levels 0-255) of the cropped frame. Dropped below `min_luma`."""

    name = "black"

    def __init__(self, settings: BlackSettings) -> None:
        self.threshold = settings.min_luma

    def score(self, frame: np.ndarray, timestamp: float) -> float:
        """Mean luma of one frame, uint8 (H, W, 3) RGB."""
        return float(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).mean())

    def drops(self, scores: np.ndarray) -> np.ndarray:
        """Which samples to drop: bool (N,) for scores (N,)."""
        return scores < self.threshold

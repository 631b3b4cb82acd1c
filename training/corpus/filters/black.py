"""Black frames: lens covered, light off, or blanked by an anonymizer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.corpus.filters.picture import Picture, Timeline


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

    def score(self, pictures: Sequence[Picture]) -> list[float]:
        """Mean luma of each frame."""
        return [picture.luma for picture in pictures]

    def drops(self, scores: np.ndarray, timeline: Timeline) -> np.ndarray:
        """Which samples to drop: bool (N,) for scores (N,)."""
        return scores < self.threshold

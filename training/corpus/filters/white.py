"""White frames: blanked by an anonymizer, overexposed, or the fade of an edited video."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from training.corpus.filters.picture import Picture, Timeline

DARKEST = 2  # percent; a title on white has more ink than that, so it is left to the screen filter


@dataclass(frozen=True)
class WhiteSettings:
    """Settings of the white-frame filter."""

    enabled: bool = True
    # Gray levels 0-255. HeiChole blanks with 255. The brightest of 1,553 genuine frames scores 59, the brightest of 18
    # screenshots 201.
    min_luma: float = 200.0


class WhiteFilter:
    """Score: the gray level that 98 % of the frame exceed. Dropped at `min_luma` and above."""

    name = "white"

    def __init__(self, settings: WhiteSettings) -> None:
        self.threshold = settings.min_luma

    def score(self, pictures: Sequence[Picture]) -> list[float]:
        """The gray level, 0-255, of the darkest pixels of each frame."""
        return [_exceeded(picture.small_gray) for picture in pictures]

    def drops(self, scores: np.ndarray, timeline: Timeline) -> np.ndarray:
        """Which samples to drop: bool (N,) for scores (N,)."""
        return scores >= self.threshold


def _exceeded(gray: np.ndarray) -> float:
    """The gray level that all but `DARKEST` percent of uint8 (H, W) reach."""
    counts = cv2.calcHist([gray], [0], None, [256], [0, 256]).ravel().cumsum()
    return float(np.searchsorted(counts, DARKEST / 100 * counts[-1], side="right"))

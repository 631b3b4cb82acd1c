"""Screens that show no surgery: title slides, desktops and menus, charts, credits, test patterns."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from training.corpus.filters.picture import Picture, Timeline

MARGIN = 0.15  # of each side; the rest holds none of the black corners around a round view
FLAT_LEVELS = 6  # gray levels; coding noise of a plain area stays within them
EDGE_LEVELS = 60  # Sobel response of an edge: letters and borders have several hundred
AXIS_SLOPE = 0.15  # an edge lies along a row or column when the smaller gradient is at most this part of the larger


@dataclass(frozen=True)
class ScreenSettings:
    """Settings of the filter of non-surgical screens."""

    enabled: bool = True
    # From 0 to 1. The highest of 1,553 genuine frames scores 0.23, of 1,005 rendered ones 0.13; 15 of 18 screenshots
    # and 83 of 105 drawn slides, desktops and charts reach 0.5, the others have large red parts.
    min_score: float = 0.5


class ScreenFilter:
    """Score: how much a frame looks drawn, from 0 to 1. Dropped at `min_score` and above.

    The mean of three signs in the middle of the frame, each 0 to 1: large flat areas (from 30 % of the pixels, fully at
    60 %), few colors (the four commonest of 512 cover from 60 % to 80 %), hard edges along rows and columns (from 20 %
    of the edges, as by chance in nature, to 40 %). It is multiplied by 1 - redness / 0.3: nothing red is a screen, so
    a red slide or a desktop that shows an operation stays.
    """

    name = "screen"

    def __init__(self, settings: ScreenSettings) -> None:
        self.threshold = settings.min_score

    def score(self, pictures: Sequence[Picture]) -> list[float]:
        """Likeness to a drawing of each frame; NaN for a black one."""
        return [self._likeness(picture) for picture in pictures]

    def drops(self, scores: np.ndarray, timeline: Timeline) -> np.ndarray:
        """Which samples to drop: bool (N,) for scores (N,)."""
        return scores >= self.threshold

    def _likeness(self, picture: Picture) -> float:
        colorless = 1 - _ramp(picture.redness, 0.0, 0.3)
        if not colorless > 0:  # most frames of an operation, which spares them the rest
            return float(colorless)
        height, width = picture.small.shape[:2]
        rows, columns = (slice(int(MARGIN * side), side - int(MARGIN * side)) for side in (height, width))
        signs = (
            _ramp(_flat_share(picture.small_gray[rows, columns]), 0.3, 0.6),
            _ramp(_color_share(picture.small[rows, columns]), 0.6, 0.8),
            _ramp(_axis_share(picture.small_gray[rows, columns]), 0.2, 0.4),
        )
        return float(np.mean(signs) * colorless)


def _ramp(value: float, zero: float, one: float) -> float:
    """0 up to `zero`, 1 from `one` on, linear between; NaN stays NaN."""
    return float(np.clip((value - zero) / (one - zero), 0, 1))


def _flat_share(gray: np.ndarray) -> float:
    """Share of pixels whose 3 x 3 neighborhood spans at most `FLAT_LEVELS`, of uint8 (H, W)."""
    square = np.ones((3, 3), np.uint8)
    return float((cv2.subtract(cv2.dilate(gray, square), cv2.erode(gray, square)) <= FLAT_LEVELS).mean())


def _color_share(frame: np.ndarray) -> float:
    """Share of the four commonest of 8 x 8 x 8 colors in uint8 (H, W, 3)."""
    counts = cv2.calcHist([frame], [0, 1, 2], None, [8, 8, 8], [0, 256] * 3).ravel()
    return float(np.sort(counts)[-4:].sum() / counts.sum())


def _axis_share(gray: np.ndarray) -> float:
    """Share of the edge pixels of uint8 (H, W) whose edge lies along a row or a column; 0 without edges."""
    across, down = (np.abs(cv2.Sobel(gray, cv2.CV_32F, *order)) for order in ((1, 0), (0, 1)))
    larger = np.maximum(across, down)
    edges = larger > EDGE_LEVELS
    along = edges & (np.minimum(across, down) <= AXIS_SLOPE * larger)
    return float(along.sum() / max(int(edges.sum()), 1))

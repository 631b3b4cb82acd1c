"""One sampled frame with what several filters need of it, each made once, when it is first asked for."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from training.corpus.perceptual_hash import SIDE, perceptual_hash

SMALL_SIDE = 128  # pixels, short side of `small`; averages sensor noise out, and letters and menus still show
DARK = 20  # gray levels; darker pixels, as outside the round view, have no color to speak of
THUMBNAIL = SIDE  # pixels, both sides of `thumbnail`; averaging over its cells takes the coding noise out


@dataclass(frozen=True, eq=False)
class Picture:
    """A frame as filters see it: cropped to the field of view and resized as it will be stored.

    Attributes:
        frame: uint8 (H, W, 3) RGB.
        timestamp: seconds from the first frame; 0 for stills without a sequence.
    """

    frame: np.ndarray
    timestamp: float

    @cached_property
    def gray(self) -> np.ndarray:
        """Luma (BT.601) of the frame, uint8 (H, W)."""
        return cv2.cvtColor(self.frame, cv2.COLOR_RGB2GRAY)

    @cached_property
    def small(self) -> np.ndarray:
        """The frame with a short side of at most `SMALL_SIDE` pixels, uint8 (h, w, 3) RGB."""
        height, width = self.frame.shape[:2]
        scale = SMALL_SIDE / min(height, width)
        if scale >= 1:
            return self.frame
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        return cv2.resize(self.frame, size, interpolation=cv2.INTER_AREA)

    @cached_property
    def small_gray(self) -> np.ndarray:
        """Luma of `small`, uint8 (h, w)."""
        return cv2.cvtColor(self.small, cv2.COLOR_RGB2GRAY)

    @cached_property
    def small_hsv(self) -> np.ndarray:
        """`small` as hue 0-179, saturation 0-255 and value 0-255, uint8 (h, w, 3)."""
        return cv2.cvtColor(self.small, cv2.COLOR_RGB2HSV)

    @cached_property
    def redness(self) -> float:
        """How far red leads in the redder part of `small`; about 0.5 on tissue, 0 or less on gray or blue things.

        The 75th percentile, over pixels brighter than `DARK`, of (R - max(G, B)) / max(R, G, B), from -1 to 1 in steps
        of 0.01. The redder part, because pale organs, fat and instruments may fill most of a view of the inside. NaN
        without light.
        """
        red, green, blue = cv2.split(self.small)
        cool = cv2.max(green, blue)
        brightest = cv2.max(red, cool)
        lit = cv2.threshold(brightest, DARK, 255, cv2.THRESH_BINARY)[1]
        lead = cv2.divide(cv2.subtract(red, cool, dtype=cv2.CV_32F), brightest, dtype=cv2.CV_32F)
        counts = cv2.calcHist([lead], [0], lit, [201], [-1.005, 1.005]).ravel().cumsum()
        if not counts[-1]:
            return float("nan")
        return float(np.searchsorted(counts, 0.75 * counts[-1]) / 100 - 1)

    @cached_property
    def thumbnail(self) -> np.ndarray:
        """The luma shrunk to `THUMBNAIL` x `THUMBNAIL` cells, float32, gray levels 0-255."""
        return cv2.resize(self.gray, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).astype(np.float32)

    @cached_property
    def luma(self) -> float:
        """Mean gray level, 0 to 255."""
        return float(self.gray.mean())

    @cached_property
    def sharpness(self) -> float:
        """Variance of the Laplacian of the gray levels."""
        return float(cv2.Laplacian(self.gray, cv2.CV_32F).var())

    @cached_property
    def phash(self) -> int:
        """64-bit perceptual hash."""
        return perceptual_hash(self.thumbnail)


@dataclass(frozen=True, eq=False)
class Timeline:
    """All samples of one video, of which a filter decides.

    Attributes:
        times: float64 (N,) seconds, never decreasing; all 0 for stills without a sequence.
        reasons: (N,) why a sample is gone already, "" where it is kept so far: a missing frame or an earlier filter.
    """

    times: np.ndarray
    reasons: tuple[str, ...]

    @cached_property
    def kept(self) -> np.ndarray:
        """Which samples are kept so far: bool (N,)."""
        return np.array([not reason for reason in self.reasons], bool)

"""Blurred frames: out of focus, smeared lens, fog; measured against the usual sharpness of their own video."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from training.corpus.filters.picture import Picture, Timeline


@dataclass(frozen=True)
class BlurSettings:
    """Settings of the blur filter."""

    enabled: bool = True
    # Percent. The usual sharpness of a video is this percentile of its kept frames; above 50, so that a video that is
    # blurred half of the time still knows what sharp is.
    percentile: float = 75.0
    # Part of the usual sharpness. The lowest of 1,547 genuine frames has 0.04; it is the only one dropped, and mostly
    # out of focus. The next has 0.16. Of 280 blurred by 3 pixels (of 256) all are below, also with noise of 2 gray
    # levels added afterwards; of those blurred by 2 pixels 89 %, with noise 73 %.
    min_ratio: float = 0.07
    # Variance of the Laplacian, gray levels squared: below it nothing is sharp, however soft the video. The softest
    # genuine frame has 36; blurred by 2 pixels, as a soft endoscope is throughout, at least 10; by 4 pixels about 7.
    min_sharpness: float = 6.0


class BlurFilter:
    """Score: variance of the Laplacian of the frame at a short side of 128 pixels.

    Dropped below `min_ratio` times the video's own percentile, so that a soft endoscope is not emptied, and below
    `min_sharpness` in any video. At 128 pixels, because sensor noise is averaged out there; at 256 pixels it makes a
    blurred frame look as sharp as a smooth organ. A crisp rim of the round view, or text over a blurred picture, keeps
    a frame.
    """

    name = "blur"

    def __init__(self, settings: BlurSettings) -> None:
        self._settings = settings
        self.threshold = settings.min_sharpness  # until `drops` knows the video

    def score(self, pictures: Sequence[Picture]) -> list[float]:
        """Sharpness of each frame, 0 for a plain one."""
        return [float(cv2.Laplacian(picture.small_gray, cv2.CV_32F).var()) for picture in pictures]

    def drops(self, scores: np.ndarray, timeline: Timeline) -> np.ndarray:
        """Which samples to drop: bool (N,) for scores (N,)."""
        kept = scores[timeline.kept]
        if len(kept):
            usual = float(np.percentile(kept, self._settings.percentile))
            self.threshold = max(self._settings.min_sharpness, self._settings.min_ratio * usual)
        return scores < self.threshold

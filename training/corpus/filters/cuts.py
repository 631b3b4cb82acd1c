"""Scene cuts: where an edited video jumps to another view, a new clip starts. Nothing is dropped."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from training.corpus.filters.picture import Picture, Timeline

CELLS = 16  # of the thumbnail, each way; coarse, so that a small camera motion changes little


@dataclass(frozen=True)
class CutSettings:
    """Settings of the search for scene cuts."""

    enabled: bool = True
    # From 0 to 1. None of 450 genuine pairs 1 s apart reaches 0.5 (highest 0.47, a fast sweep), 1 of 367 pairs 30 s
    # apart does; 70 % of 830 jumps to another endoscope do, but only 9 % of 500 jumps between videos of one data set:
    # a missed cut leaves two scenes in one clip, so this is made for compilations, not for trimmed recordings.
    min_score: float = 0.5
    # Times the median score of the samples within `window_seconds`. A laparoscope that sweeps all the time changes much
    # from sample to sample, a cut changes more.
    min_ratio: float = 2.5
    window_seconds: float = 10.0  # before and after; long enough for a median at 1 fps


class CutDetector:
    """Score: change since the previous sample, (histogram distance) x (1 - correlation of thumbnails), from 0 to 1.

    The histogram distance is Bhattacharyya's over 8 x 8 x 8 colors, the correlation is Pearson's over 16 x 16 cells,
    not below 0. Motion changes the thumbnail more than the histogram, light and smoke the histogram more than the
    thumbnail; a cut changes both. The first sample has no score (NaN).
    """

    def __init__(self, settings: CutSettings) -> None:
        self._settings = settings
        self._previous: tuple[np.ndarray, np.ndarray] | None = None

    def score(self, pictures: Sequence[Picture]) -> list[float]:
        """Change of each frame since the one before."""
        return [self._change(picture) for picture in pictures]

    def breaks(self, scores: np.ndarray, timeline: Timeline) -> frozenset[int]:
        """Positions of the samples that begin a new scene, for scores (N,).

        Only neighbors that are both kept are looked at: a drop ends a clip anyhow.
        """
        kept = timeline.kept
        pairs = np.flatnonzero(kept[1:] & kept[:-1] & ~np.isnan(scores[1:])) + 1
        found = []
        for position in pairs.tolist():
            if scores[position] < self._settings.min_score:
                continue
            near = np.abs(timeline.times[pairs] - timeline.times[position]) <= self._settings.window_seconds + 1e-6
            others = scores[pairs[near & (pairs != position)]]
            if not len(others) or scores[position] >= self._settings.min_ratio * np.median(others):
                found.append(position)
        return frozenset(found)

    def _change(self, picture: Picture) -> float:
        histogram = cv2.calcHist([picture.small], [0, 1, 2], None, [8, 8, 8], [0, 256] * 3)
        cells = cv2.resize(picture.small, (CELLS, CELLS), interpolation=cv2.INTER_AREA).astype(np.float32)
        here = histogram / histogram.sum(), cells - cells.mean()
        before, self._previous = self._previous, here
        if before is None:
            return float("nan")
        distance = cv2.compareHist(before[0], here[0], cv2.HISTCMP_BHATTACHARYYA)
        norm = float(np.linalg.norm(before[1]) * np.linalg.norm(here[1]))
        correlation = float((before[1] * here[1]).sum()) / norm if norm else 0.0
        return float(distance * (1 - max(correlation, 0.0)))

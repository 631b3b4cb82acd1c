"""Duplicates within a video: the camera comes back to, or stays on, a picture that was kept already."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.corpus.duplicates.likeness import MIN_CORRELATION, correlations
from training.corpus.filters.picture import Picture, Timeline


@dataclass(frozen=True)
class DuplicateSettings:
    """Settings of the filter of duplicates within a video."""

    enabled: bool = True
    # Bits of 64. Of genuine frames go, at 4 bits and the correlation below: 0 of 20 samples of moving laparoscope at
    # 1 fps, 1 of 42 at 2 fps, 6 of 100 at 5 fps, 170 of 500 at 25 fps; 1 of 412 key frames of 40 videos; 30 of 36
    # neighboring frames of a resting endoscope; 0 of 600 different polyps.
    max_distance: int = 4
    # Of 32 x 32 thumbnails. Without it 3 of the 600 polyps go at 4 bits and 101 at 10; see duplicates/likeness.py.
    min_correlation: float = MIN_CORRELATION


class DuplicateFilter:
    """Score: smallest Hamming distance of the perceptual hash to that of any earlier frame of the video, in bits.

    Dropped when a kept earlier frame lies within `max_distance` and its thumbnail correlates with at least
    `min_correlation`. So every dropped frame has a kept one that looks like it, however slowly a scene drifts. The
    first frame has an infinite score.
    """

    name = "duplicate"

    def __init__(self, settings: DuplicateSettings) -> None:
        self.threshold = float(settings.max_distance)
        self._min_correlation = settings.min_correlation
        self._count = 0
        self._hashes = np.zeros(1024, np.uint64)  # of the frames seen so far; doubled when full
        self._thumbnails: list[np.ndarray] = []  # of the same, in whole gray levels: 1 kB each

    def score(self, pictures: Sequence[Picture]) -> list[float]:
        """Distance of each frame to the nearest earlier one."""
        return [self._distance(picture) for picture in pictures]

    def drops(self, scores: np.ndarray, timeline: Timeline) -> np.ndarray:
        """Which samples to drop: bool (N,) for scores (N,). Frames that are gone already hide nothing."""
        found = np.zeros(len(scores), bool)
        positions = np.flatnonzero(~np.isnan(scores))  # of the frames seen, in the order in which they were
        kept = np.zeros(self._count, np.int64)
        count = 0
        for frame in np.flatnonzero(timeline.kept[positions]).tolist():
            if scores[positions[frame]] <= self.threshold and self._is_like_any(frame, kept[:count]):
                found[positions[frame]] = True
            else:
                kept[count] = frame
                count += 1
        return found

    def _distance(self, picture: Picture) -> float:
        if self._count == len(self._hashes):
            self._hashes = np.concatenate([self._hashes, np.zeros_like(self._hashes)])
        own = np.uint64(picture.phash)
        distances = np.bitwise_count(self._hashes[: self._count] ^ own)
        self._hashes[self._count] = own
        self._thumbnails.append(picture.thumbnail.round().astype(np.uint8))
        self._count += 1
        return float(distances.min(initial=255)) if len(distances) else float("inf")

    def _is_like_any(self, frame: int, kept: np.ndarray) -> bool:
        near = kept[np.bitwise_count(self._hashes[kept] ^ self._hashes[frame]) <= self.threshold]
        if not len(near):
            return False
        alike = correlations(self._thumbnails[frame], np.stack([self._thumbnails[other] for other in near]))
        return bool(alike.max() >= self._min_correlation)

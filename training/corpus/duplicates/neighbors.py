"""The near-duplicates of a frame in other videos, by hash and thumbnail or by embedding."""

from typing import Protocol

import numpy as np

from training.corpus.duplicates.frame_table import FrameTable, read_thumbnails
from training.corpus.duplicates.hash_search import near_pairs
from training.corpus.duplicates.likeness import correlations


class Neighbors(Protocol):
    """What clustering asks.

    Attributes:
        method: of the comparison, as in duplicates.parquet.
        candidates: frames that may have any neighbor, int64, ascending.
    """

    method: str
    candidates: np.ndarray

    def near(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """Near-duplicates of a frame in other videos: frames int64 (M,) and distances float32 (M,)."""
        ...


class HashNeighbors:
    """Frames with near hashes and correlated thumbnails. Distances are bits.

    Equal hashes are searched once, however many frames have them, and only frames that have a near hash in another
    video are decoded.
    """

    method = "hash"

    def __init__(self, frames: FrameTable, max_distance: int, min_correlation: float) -> None:
        self._frames = frames
        self._min_correlation = min_correlation
        values, self._value = np.unique(frames.phash, return_inverse=True)
        self._members = np.argsort(self._value, kind="stable")
        self._starts = np.searchsorted(self._value[self._members], np.arange(len(values) + 1))
        lowest, highest = np.full(len(values), np.iinfo(np.int32).max), np.full(len(values), -1)
        np.minimum.at(lowest, self._value, frames.video)
        np.maximum.at(highest, self._value, frames.video)
        parts = []
        for first, second, distance in near_pairs(values, max_distance):
            # Neighbors within one video are none of our business, and there are many of them.
            apart = np.minimum(lowest[first], lowest[second]) != np.maximum(highest[first], highest[second])
            parts.append((first[apart].astype(np.int32), second[apart].astype(np.int32), distance[apart]))
        self._links = _Links(len(values), parts)
        self.candidates = np.flatnonzero(((lowest != highest) | self._links.any)[self._value])
        self._thumbnails = read_thumbnails(frames, self.candidates)

    def near(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """See `Neighbors`."""
        own = int(self._value[frame])
        others, bits = self._links.of(own)
        groups = [self._members[self._starts[value] : self._starts[value + 1]] for value in (own, *others.tolist())]
        found = np.concatenate(groups)
        distances = np.repeat(np.array([0, *bits.tolist()], np.float32), [len(group) for group in groups])
        apart = self._frames.video[found] != self._frames.video[frame]
        found, distances = found[apart], distances[apart]
        if len(found):
            places = np.searchsorted(self.candidates, [frame, *found.tolist()])
            alike = correlations(self._thumbnails[places[0]], self._thumbnails[places[1:]]) >= self._min_correlation
            found, distances = found[alike], distances[alike]
        return found, distances


class PairNeighbors:
    """Frames in a list of pairs.

    Args:
        method: see `Neighbors`.
        count: frames of the corpus.
        pairs: first and second frames, and their distances.
    """

    def __init__(self, method: str, count: int, pairs: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
        self.method = method
        self._links = _Links(count, [pairs])
        self.candidates = np.flatnonzero(self._links.any)

    def near(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """See `Neighbors`."""
        return self._links.of(frame)


class _Links:
    """Pairs, to be asked for the partners of one end."""

    def __init__(self, count: int, parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
        empty = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
        first, second, distance = (np.concatenate(column) for column in zip(*(parts or [empty]), strict=True))
        ends, others = np.concatenate([first, second]), np.concatenate([second, first])
        order = np.lexsort((others, ends))
        self._others = others[order]
        self._distances = np.concatenate([distance, distance])[order].astype(np.float32)
        self._starts = np.searchsorted(ends[order], np.arange(count + 1))
        self.any = self._starts[1:] > self._starts[:-1]

    def of(self, end: int) -> tuple[np.ndarray, np.ndarray]:
        span = slice(self._starts[end], self._starts[end + 1])
        return self._others[span], self._distances[span]

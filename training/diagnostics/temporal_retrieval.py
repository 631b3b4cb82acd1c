"""Temporal retrieval: whether the frames nearest in feature space are near in time, supervision that costs nothing."""

from dataclasses import dataclass
from math import comb

import numpy as np

from training.diagnostics.directions import unit_rows


@dataclass(frozen=True)
class Queries:
    """What retrieval asks.

    Attributes:
        candidates: bool (N, N), frames among which row i may find.
        relevant: bool (N, N), those candidates that are right.
    """

    candidates: np.ndarray
    relevant: np.ndarray

    @property
    def asked(self) -> np.ndarray:
        """Queries with something to find and something to miss, bool (N,)."""
        wrong = self.candidates & ~self.relevant
        return self.relevant.any(axis=1) & wrong.any(axis=1)


def near_in_time(videos: np.ndarray, times: np.ndarray, tau: float, near_duplicates: np.ndarray) -> Queries:
    """Right: a frame of the same video within ±τ seconds. Near-duplicates of the query are no candidates.

    Args:
        videos: int (N,).
        times: float (N,), seconds; NaN where a video has no time line: such frames ask nothing.
        tau: τ in seconds.
        near_duplicates: bool (N, N), pairs that show the same picture: finding them is no merit.
    """
    same = videos[:, None] == videos
    close = np.abs(times[:, None] - times) <= tau  # False beside NaN
    candidates = ~near_duplicates & ~np.eye(len(videos), dtype=bool)
    return Queries(candidates, candidates & same & close)


def same_video_later(videos: np.ndarray, times: np.ndarray, tau: float) -> Queries:
    """Right: a frame of the same video further than τ seconds away; nearer ones of that video are no candidates."""
    same = videos[:, None] == videos
    far = np.abs(times[:, None] - times) > tau
    return Queries(~same | far, same & far)


def recall_at_k(features: np.ndarray, queries: Queries, k: int) -> np.ndarray:
    """Whether one of the k candidates of highest cosine is right, for every frame that asks.

    Args:
        features: (N, D).
        queries: what is asked.
        k: candidates looked at.

    Returns:
        float64 (N,) of 0 and 1; NaN for frames that do not ask.

    Example:
        Angles 0°, 10°, 90° of which the first two belong together: the first two find each other, the third asks
        nothing: 1, 1, NaN.
    """
    units = unit_rows(features)
    similar = np.where(queries.candidates, units @ units.T, -np.inf)
    order = np.argsort(-similar, axis=1, kind="stable")[:, :k]
    # A row with fewer than k candidates goes on with others, which are not right either.
    found = np.take_along_axis(queries.relevant, order, axis=1).any(axis=1)
    return np.where(queries.asked, found.astype(np.float64), np.nan)


def chance_of_recall(queries: Queries, k: int) -> np.ndarray:
    """What a random order of the candidates scores: 1 - C(c - r, k) / C(c, k), for c candidates of which r are right.

    Returns:
        float64 (N,); NaN for frames that do not ask.
    """
    counts = zip(queries.candidates.sum(axis=1).tolist(), queries.relevant.sum(axis=1).tolist(), strict=True)
    chances = [1 - comb(c - r, min(k, c)) / comb(c, min(k, c)) for c, r in counts]
    return np.where(queries.asked, chances, np.nan)

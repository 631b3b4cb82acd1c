"""Mutual nearest neighbors: how many of a frame's k nearest frames are the same for two models."""

import numpy as np

from training.diagnostics.directions import unit_rows


def mutual_knn(first: np.ndarray, second: np.ndarray, k: int) -> np.ndarray:
    """|kNN₁(i) ∩ kNN₂(i)| / k of every frame i, neighbors by cosine.

    Unlike CKA it asks about neighborhoods only and assumes nothing linear. Two unrelated models share k / (N - 1).

    Args:
        first: features of one model, (N, D₁).
        second: of the other for the same frames, (N, D₂).
        k: neighbors, below N.

    Returns:
        float64 (N,), 0 to 1.

    Source: Huh et al., "The platonic representation hypothesis", arXiv 2405.07987, appendix A.

    Example:
        Frames at angles 0°, 10°, 90° in one model and 0°, 80°, 90° in the other, k = 1: 0 is nearest to 10 and to 80,
        10 to 0 but 80 to 90, 90 to 10 and to 80: shares 1, 0, 1.
    """
    if not 1 <= k < len(first):
        raise ValueError(f"k={k} needs more than {k} frames, got {len(first)}")
    mine, others = (_is_neighbor(features, k) for features in (first, second))
    return (mine & others).sum(axis=1) / k


def _is_neighbor(features: np.ndarray, k: int) -> np.ndarray:
    """Whether column j is among the k nearest of row i; the first of equal ones; bool (N, N)."""
    units = unit_rows(features)
    similar = units @ units.T
    np.fill_diagonal(similar, -np.inf)
    order = np.argsort(-similar, axis=1, kind="stable")[:, :k]
    found = np.zeros(similar.shape, bool)
    np.put_along_axis(found, order, True, axis=1)
    return found

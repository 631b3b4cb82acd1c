"""Linear CKA: whether two models see the same frames as alike, whatever rotation or scale their features have."""

import numpy as np


def debiased_cka(first: np.ndarray, second: np.ndarray, rows: np.ndarray | None = None) -> float:
    """CKA = HSIC(K, L) / sqrt(HSIC(K, K) · HSIC(L, L)) with the unbiased estimator of HSIC.

    HSIC(K, L) = [tr(K̃L̃) + (1ᵀK̃1)(1ᵀL̃1) / ((n-1)(n-2)) - 2 · 1ᵀK̃L̃1 / (n-2)] / (n(n-3)), where K̃ is K with a zero
    diagonal. The plain estimator tends to 1 for wide features of few frames, related or not; this one tends to 0.

    Args:
        first: K = XXᵀ, (N, N), products of one model's features.
        second: L, (N, N), of the other's, for the same frames.
        rows: int (n,), which frames to use, n >= 4; a frame may come several times, as in a bootstrap, and is never
            compared with itself. `None`: each once.

    Returns:
        1 for the same features up to rotation and scale, about 0 for unrelated ones, where it may be negative; NaN
        where a model tells no frames apart.

    Source: HSIC of Song et al., "Feature selection via dependence maximization" (JMLR 2012), equation 5, in the CKA of
    Kornblith et al., arXiv 1905.00414, as Nguyen et al., arXiv 2010.15327, put it together.
    """
    rows = np.arange(len(first)) if rows is None else rows
    if len(rows) < 4:
        raise ValueError(f"the unbiased estimator needs at least 4 frames, got {len(rows)}")
    other = rows[:, None] != rows
    K, L = (np.where(other, each[np.ix_(rows, rows)].astype(np.float64), 0.0) for each in (first, second))
    owns = [_hsic(each, each) for each in (K, L)]
    # What is left of constant features is the rounding of numbers of the size of K.
    if any(own <= 1e-12 * (each**2).mean() for own, each in zip(owns, (K, L), strict=True)):
        return float("nan")
    return _hsic(K, L) / float(np.sqrt(owns[0] * owns[1]))


def gram(features: np.ndarray) -> np.ndarray:
    """XXᵀ float64 (N, N) of features (N, D), centered: what CKA compares. Centering keeps digits, not the result."""
    centered = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    return centered @ centered.T


def _hsic(K: np.ndarray, L: np.ndarray) -> float:
    n = len(K)
    sums, others = K.sum(axis=0), L.sum(axis=0)
    trace = float((K * L).sum())  # K and L are symmetric
    return (trace + sums.sum() * others.sum() / ((n - 1) * (n - 2)) - 2 * sums @ others / (n - 2)) / (n * (n - 3))

"""LiDAR: how many directions tell clips apart better than they vary inside a clip."""

import numpy as np

from training.diagnostics.effective_rank import effective_rank

DELTA = 1e-4  # of the mean variance inside a class, added to each direction; the paper's range is 1e-8 to 1e-4


def lidar(features: np.ndarray, classes: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The effective rank of Σ_w^(-1/2) Σ_b Σ_w^(-1/2), linear discriminant analysis with clips as classes.

    Σ_b is the covariance of the class means, Σ_w the mean over classes of the covariance inside a class, plus δ times
    its mean variance on the diagonal. A direction in which frames of one clip differ as much as clips do counts little,
    which RankMe cannot see.

    Args:
        features: (N, D).
        classes: int (N,), from 0 to C - 1; each with at least 2 rows.
        weights: (C,), how often each class counts; `None`: once.

    Returns:
        From 1 to min(C - 1, D); NaN where features do not vary inside or between classes.

    Raises:
        ValueError: a class with fewer than 2 rows: it has no inside.

    Source: Thilak et al., arXiv 2312.04000, equations 1 and 2.

    Example:
        Classes {[0, 0], [0, 2]}, {[4, 1], [4, -1]}, {[-4, 1], [-4, -1]}: they differ in the first direction only, 1.
    """
    counts = np.bincount(classes)
    if counts.min() < 2:
        raise ValueError("every class needs at least 2 rows")
    rows = _coordinates(features.astype(np.float64))  # (N, K)
    weights = np.ones(len(counts)) if weights is None else weights.astype(np.float64)
    if not weights.any():  # a resample without any of the classes
        return float("nan")
    means = np.zeros((len(counts), rows.shape[1]))
    np.add.at(means, classes, rows)
    means /= counts[:, None]
    share = weights / weights.sum()
    inside = rows - means[classes]
    within = (inside * (share / counts)[classes, None]).T @ inside  # (K, K)
    spread = np.trace(within) / features.shape[1]
    between = means - share @ means
    if not spread > 0:
        return float("nan")
    values, vectors = np.linalg.eigh(within + DELTA * spread * np.eye(len(within)))
    whitened = (between * np.sqrt(share)[:, None]) @ vectors / np.sqrt(values)  # (C, K)
    product = whitened @ whitened.T  # (C, C): the eigenvalues of the (K, K) product, and zeros
    eigenvalues = np.linalg.eigvalsh(product)
    return effective_rank(np.where(eigenvalues > 1e-10 * max(eigenvalues[-1], 0.0), eigenvalues, 0.0))


def _coordinates(rows: np.ndarray) -> np.ndarray:
    """Rows (N, D) in the at most N directions that they span: a rotation, so that wide features cost no (D, D)."""
    if rows.shape[1] <= len(rows):
        return rows
    left, spread, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    kept = spread > 1e-10 * spread[0]
    return left[:, kept] * spread[kept]

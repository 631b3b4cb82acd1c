"""Singular values and covariance eigenvalues of a set of features: what the measures of rank are computed from."""

import numpy as np


def singular_values(features: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Singular values of the features as they are, not centered, largest first.

    Args:
        features: (N, D).
        weights: (N,), how often each row counts; `None`: once.

    Returns:
        float64 (min(N, D),), of the matrix in which row n stands `weights[n]` times.

    Example:
        Rows [3, 0], [0, 4]: 4, 3. With weights 1, 0: 3, 0.
    """
    return np.sqrt(_eigenvalues(_weighted(features.astype(np.float64), weights)))


def covariance_eigenvalues(features: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Eigenvalues of the covariance Σ = (1/N) Σ_n (z_n - mean)(z_n - mean)ᵀ, largest first.

    Args:
        features: (N, D).
        weights: (N,), how often each row counts; `None`: once.

    Returns:
        float64 (min(N, D),), none below 0. The others of the D are 0.

    Example:
        Rows [1, 0], [-1, 0], [0, 2], [0, -2]: 2, 0.5.
    """
    features = features.astype(np.float64)
    counts = np.ones(len(features)) if weights is None else weights
    centered = features - counts @ features / counts.sum()
    return _eigenvalues(_weighted(centered, weights)) / counts.sum()


def _weighted(rows: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Rows times the root of their weight: their products are those of repeated rows."""
    return rows if weights is None else rows * np.sqrt(weights)[:, None]


def _eigenvalues(rows: np.ndarray) -> np.ndarray:
    """Squared singular values of rows (N, D), largest first, through the smaller of the two products."""
    product = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
    return np.maximum(np.linalg.eigvalsh(product)[::-1], 0.0)

"""Uniformity: how evenly the features of frames fill the sphere."""

import numpy as np

from training.diagnostics.directions import unit_rows

T = 2.0  # of the Gaussian potential, as in the paper


def uniformity(features: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Uniformity = log E exp(-2 ‖f(x) - f(y)‖²) over pairs of different frames, of features at length 1.

    Args:
        features: (N, D), N >= 2.
        weights: (N,), how often each frame counts, never in a pair with itself; `None`: once.

    Returns:
        0 for constant features, -4 for frames at right angles to each other; lower is more uniform.

    Source: Wang and Isola, arXiv 2005.10242, equation 2 with t = 2.

    Example:
        [1, 0], [0, 1]: ‖·‖² = 2, so -4.
    """
    units = unit_rows(features)
    pairs = np.exp(-T * np.maximum(2 - 2 * units @ units.T, 0.0))
    counts = np.ones(len(units)) if weights is None else weights.astype(np.float64)
    different = 1.0 - np.eye(len(units))
    total = counts @ different @ counts
    return float(np.log(counts @ (pairs * different) @ counts / total)) if total > 0 else float("nan")

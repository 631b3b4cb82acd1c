"""Alignment: how near the features of two views of one frame are on the sphere."""

import numpy as np

from training.diagnostics.directions import unit_rows


def alignment(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """‖f(x) - f(x⁺)‖² of features at length 1, for every pair of views.

    Args:
        first: (N, D).
        second: of the other view of the same frames, (N, D).

    Returns:
        float64 (N,), 0 (the same direction) to 4. It says nothing without `uniformity`: constant features score 0.

    Source: Wang and Isola, arXiv 2005.10242, equation 1 with α = 2.

    Example:
        [1, 0] and [0, 3]: 2.
    """
    return ((unit_rows(first) - unit_rows(second)) ** 2).sum(axis=1)

"""Stable rank: the variance of the features in units of that of their strongest direction."""

import numpy as np


def stable_rank(eigenvalues: np.ndarray) -> float:
    """‖Z‖_F² / σ₁² = Σλ / λ₁ of centered features Z.

    One dominating direction pulls it to 1, whatever the entropy of the rest says.

    Args:
        eigenvalues: λ, (K,), of the covariance, largest first.

    Returns:
        From 1 to K; NaN for features without variance.

    Source: Rudelson and Vershynin, "Sampling from large matrices" (J. ACM 2007).

    Example:
        λ = 3, 1: 4/3.
    """
    return float(eigenvalues.sum() / eigenvalues[0]) if len(eigenvalues) and eigenvalues[0] > 0 else float("nan")

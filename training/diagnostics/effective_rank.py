"""Effective rank: how many directions the variance of the features is spread over."""

import numpy as np


def effective_rank(eigenvalues: np.ndarray) -> float:
    """exp(-Σ_i p_i log p_i) with p_i = λ_i / Σλ, where 0 log 0 = 0.

    Args:
        eigenvalues: λ, (K,), of the covariance; see `spectrum.covariance_eigenvalues`.

    Returns:
        From 1 (one direction) to K (the same variance in all); NaN for features without variance.

    Source: Roy and Vetterli, "The effective rank" (EUSIPCO 2007), of the covariance.

    Example:
        λ = 2, 2: 2. λ = 3, 1: 1.7548. λ = 1, 0: 1.
    """
    total = eigenvalues.sum()
    if not total > 0:
        return float("nan")
    shares = eigenvalues[eigenvalues > 0] / total
    return float(np.exp(-(shares * np.log(shares)).sum()))

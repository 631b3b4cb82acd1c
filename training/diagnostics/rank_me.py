"""RankMe: how many directions the features use, from the entropy of their singular values."""

import numpy as np

EPSILON = 1e-7  # of the paper: a singular value of 0 has a logarithm


def rank_me(singular_values: np.ndarray) -> float:
    """RankMe = exp(-Σ_k p_k log p_k) with p_k = σ_k / Σσ + ε.

    Args:
        singular_values: σ, (K,), of the features as they are (not centered); see `spectrum.singular_values`.

    Returns:
        From 1 (one direction) to K = min(N, D), but for ε; NaN when all features are 0.

    Source: Garrido et al., arXiv 2210.02885, equation 1.

    Example:
        σ = 1, 1: 2. σ = 3, 1: p = 3/4, 1/4, exp(0.5623) = 1.7548.
    """
    total = singular_values.sum()
    if not total > 0:
        return float("nan")
    shares = singular_values / total + EPSILON
    return float(np.exp(-(shares * np.log(shares)).sum()))

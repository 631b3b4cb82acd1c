"""α-ReQ: how fast the eigenvalues of the covariance fall."""

import numpy as np

RANGE = (0.05, 0.5)  # of the ranks: the first few are single facts of the data, the last ones noise of few samples
MIN_POINTS = 5  # a slope through fewer says nothing


def alpha_req(eigenvalues: np.ndarray) -> float:
    """α of the power law λ_i ∝ i^(-α): minus the slope of log λ_i over log i, by least squares on the middle ranks.

    The middle ranks are those from 5 % to 50 % of the K eigenvalues above 0. About 1 is healthy, far above 1 means that
    few directions carry everything, far below 1 that there is much noise.

    Args:
        eigenvalues: λ, (K,), of the covariance, largest first.

    Returns:
        α; NaN with fewer than `MIN_POINTS` ranks in the range.

    Source: Agrawal et al., "α-ReQ: assessing representation quality in self-supervised learning" (NeurIPS 2022).

    Example:
        λ_i = 7 i^(-1.5): 1.5.
    """
    positive = eigenvalues[eigenvalues > 1e-10 * eigenvalues[0]] if len(eigenvalues) else eigenvalues
    first, last = max(1, round(RANGE[0] * len(positive))), round(RANGE[1] * len(positive))
    ranks = np.arange(first, last + 1)
    if len(ranks) < MIN_POINTS:
        return float("nan")
    slope, _ = np.polyfit(np.log(ranks), np.log(positive[ranks - 1]), 1)
    return -float(slope)

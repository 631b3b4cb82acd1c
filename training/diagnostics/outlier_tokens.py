"""Outlier tokens: dense tokens whose norm stands far out, where a transformer keeps notes instead of the picture."""

import numpy as np

FACTOR = 6.0  # robust deviations above the median: beyond 6 lies one token in a billion of a normal distribution


def outlier_share(tokens: np.ndarray) -> np.ndarray:
    """Share of tokens of each frame with ‖z‖ > median + 6 · 1.4826 · median |‖z‖ - median|, medians over all frames.

    Args:
        tokens: (N, P, D).

    Returns:
        float64 (N,), 0 to 1.

    Source: the artefact is that of Darcet et al., "Vision transformers need registers", arXiv 2309.16588, who cut where
    the norms of their models part; the robust bound serves any model.

    Example:
        Norms 1, 1.1, 0.9, 1, 9: the median is 1, its deviation 0.1, the bound 1.89, one of five lies above.
    """
    norms = np.linalg.norm(tokens.astype(np.float64), axis=2)  # (N, P, D) -> (N, P)
    median = np.median(norms)
    deviation = 1.4826 * np.median(np.abs(norms - median))
    return (norms > median + FACTOR * deviation).mean(axis=1)

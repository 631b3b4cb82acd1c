"""Positional leak: how much of the variance of dense tokens is where they are instead of what they show."""

import numpy as np


def positional_leak(tokens: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Variance across positions of the mean over frames / total variance.

    leak = Σ_p ‖m_p - m‖² / (Σ_p (1/N) Σ_n ‖z_np - m‖²), with m_p the mean over frames of position p and m that of all.

    Frames have positions of their own - tissue in the middle, dark corners - so the color histogram's leak is the
    part that the pictures explain. Tokens that know nothing of their position score 1 / N.

    Args:
        tokens: (N, P, D), P positions of N frames.
        weights: (N,), how often each frame counts; `None`: once.

    Returns:
        0 to 1; NaN for tokens without variance.

    Source: the artefact is described in Yang et al., "Denoising vision transformers", arXiv 2401.02957.

    Example:
        Two frames of two positions, tokens 1, -1 in both: 1. Tokens 1, -1 and -1, 1: 0.
    """
    count, positions, width = tokens.shape
    share = np.full(count, 1 / count) if weights is None else weights / weights.sum()
    # A large common part would drown the variances in its rounding; it does not change them.
    flat = (tokens - tokens.mean(axis=(0, 1), dtype=np.float64).astype(tokens.dtype)).reshape(count, positions * width)
    means = (share.astype(flat.dtype) @ flat).reshape(positions, width).astype(np.float64)
    overall = means.mean(axis=0)
    squares = float(share @ np.einsum("nd,nd->n", flat, flat)) / positions
    between = float(((means - overall) ** 2).sum()) / positions
    total = squares - float(overall @ overall)
    return between / total if total > 0 else float("nan")

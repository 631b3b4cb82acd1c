"""Resolution consistency: whether a frame keeps its place in feature space when the model sees it larger or smaller."""

import numpy as np


def centered_cosines(first: np.ndarray, second: np.ndarray, center: np.ndarray) -> np.ndarray:
    """cos(x_n - c, y_n - c) of every pair of rows.

    The center is the mean over frames at the model's own size. Without it the constant part that all frames share would
    make any two sizes look alike; with it two different frames score about 0.

    Args:
        first: features at one size, (N, D).
        second: of the same frames at another, (N, D).
        center: c, (D,).

    Returns:
        float64 (N,), -1 to 1; 0 where a row equals the center.

    Source: "mode switch" of Heinrich et al. (RADIOv2.5), arXiv 2412.07679, section 3.1.

    Example:
        [2, 1] and [1, 3] around [1, 1]: 0.
    """
    x, y = first.astype(np.float64) - center, second.astype(np.float64) - center
    norms = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    return np.divide((x * y).sum(axis=1), norms, out=np.zeros(len(x)), where=norms > 0)

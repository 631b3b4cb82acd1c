"""Drift: how far features move from a frame to the next, in units of how far apart frames of that video are."""

from collections.abc import Sequence

import numpy as np

from training.diagnostics.directions import unit_rows


def drift(features: np.ndarray, steps: Sequence[tuple[int, int]]) -> float:
    """Drift = mean over steps of (1 - cos(z_t, z_{t+1})) / mean over all pairs of the video of (1 - cos(z_s, z_t)).

    Args:
        features: of the frames of one video, (T, D).
        steps: pairs of rows, a frame and the next one in time.

    Returns:
        0 for a model that follows a video smoothly, about 1 for one to which the next frame is as far as any other.
        NaN without a step, and for features that do not move at all: 0 / 0, which is no smoothness.

    Example:
        Angles 0°, 90°, 180° and steps (0, 1), (1, 2): 1 over (1 + 1 + 2) / 3, 0.75.
    """
    units = unit_rows(features)
    distances = 1 - units @ units.T
    pairs = distances[np.triu_indices(len(units), 1)]
    if not len(steps) or not len(pairs) or not pairs.mean() > 1e-9:
        return float("nan")
    return float(np.mean([distances[step] for step in steps]) / pairs.mean())

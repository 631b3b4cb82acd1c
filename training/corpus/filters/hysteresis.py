"""Runs in time of a score, with two thresholds: the high one starts a run, the low one lets it go on."""

import numpy as np


def runs_above(scores: np.ndarray, times: np.ndarray, low: float, high: float, min_seconds: float) -> np.ndarray:
    """Which samples lie in a run: neighbors that all reach `low`, one of which reaches `high`.

    A run lasts from its first to its last sample plus one sampling step (the median distance of samples). Samples
    without times, all at 0, have no neighbors: each is judged alone, by `high`.

    Args:
        scores: float64 (N,), without NaN, in time order.
        times: float64 (N,) seconds, never decreasing.
        low: a run goes on while scores reach it.
        high: at least one score of a run reaches it.
        min_seconds: shorter runs do not count.

    Returns:
        bool (N,).
    """
    if len(scores) == 0 or times[-1] == times[0]:
        return scores >= high
    step = float(np.median(np.diff(times)))
    found = np.zeros(len(scores), bool)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], scores >= low, [False]]).astype(np.int8)))
    for start, stop in edges.reshape(-1, 2).tolist():  # (runs, 2): first sample, sample after the last
        seconds = times[stop - 1] - times[start] + step
        found[start:stop] = scores[start:stop].max() >= high and seconds >= min_seconds - 1e-6
    return found

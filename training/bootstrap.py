"""Intervals by resampling what is independent: frames of one surgery are not, so surgeries or videos are drawn."""

from collections.abc import Sequence

import numpy as np

RESAMPLES = 1000
LEVEL = 0.95


def draw_counts(units: int, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """How often each of `units` is drawn in each resample (with replacement): int64 (resamples, units)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(units, np.full(units, 1 / units), size=resamples)


def percentiles(values: Sequence[float] | np.ndarray) -> tuple[float, float] | None:
    """Percentile interval (95 %) of what was computed on the resamples, float (resamples,).

    A resample in which it is undefined (NaN) is left out; `None` when it is undefined in all.
    """
    defined = np.asarray(values)[~np.isnan(values)]
    if not len(defined):
        return None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)

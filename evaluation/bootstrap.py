"""Intervals of a metric by resampling cases, also of the difference of two backbones on the same cases."""

from typing import Protocol

import numpy as np

from training.bootstrap import draw_counts, percentiles


class Prediction(Protocol):
    """Stored predictions from which a metric can be recomputed for any multiset of cases."""

    @property
    def cases(self) -> tuple[str, ...]:
        """The test cases, in the order of the weights."""

    def values(self, weights: np.ndarray) -> np.ndarray:
        """The metric for each of R multisets, (R, cases) counts -> (R,) float64; NaN where undefined."""


def point(prediction: Prediction) -> float:
    """The metric over all cases."""
    return float(prediction.values(np.ones((1, len(prediction.cases))))[0])


def per_case(prediction: Prediction) -> dict[str, float | None]:
    """The metric on each case alone; None where it is undefined (a case without positives)."""
    values = prediction.values(np.eye(len(prediction.cases)))
    return {case: None if np.isnan(v) else float(v) for case, v in zip(prediction.cases, values, strict=True)}


def interval(prediction: Prediction, seed: int) -> tuple[float, float] | None:
    """Percentile interval (95 %) of the metric over resampled cases; None with fewer than two cases."""
    return percentiles(_resampled(prediction, seed))


def paired_interval(first: Prediction, second: Prediction, seed: int) -> tuple[float, float] | None:
    """Percentile interval of metric(first) - metric(second), both on the same resampled cases.

    Raises:
        ValueError: predictions for different cases.
    """
    if first.cases != second.cases:
        raise ValueError(f"paired predictions are for different cases: {first.cases} and {second.cases}")
    return percentiles(_resampled(first, seed) - _resampled(second, seed))


def _resampled(prediction: Prediction, seed: int) -> np.ndarray:
    if len(prediction.cases) < 2:
        return np.empty(0)
    return prediction.values(draw_counts(len(prediction.cases), seed))

"""One number of a task: a metric that can be computed anew for any multiset of test cases."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Compute = Callable[[np.ndarray], np.ndarray]  # (R, cases) counts -> (R,)
CHUNK = 16_000_000  # resamples x samples held at once: 128 MB of float64


@dataclass(frozen=True)
class Measured:
    """A metric over the test cases of one model.

    Attributes:
        metric: its name.
        variant: which of its definitions.
        cases: the test cases, in the order of the weights.
        compute: (R, cases) counts of each case in R multisets -> (R,) float64, NaN where undefined.
        primary: whether the task is ranked by it.
        higher_is_better: whether more is better.
        detail: what it was averaged over, JSON-able.
    """

    metric: str
    variant: str
    cases: tuple[str, ...]
    compute: Compute
    primary: bool = False
    higher_is_better: bool = True
    detail: Mapping[str, Any] = field(default_factory=dict)

    def values(self, weights: np.ndarray) -> np.ndarray:
        """The metric for each of R multisets of cases, (R, cases) -> (R,) float64; NaN where undefined."""
        return self.compute(np.asarray(weights, dtype=np.float64))

    def details(self) -> dict[str, Any]:
        """Per class values, absent classes, counts: JSON-able."""
        return dict(self.detail)


def case_rows(cases: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """The distinct cases in ascending order, and the position of each row's: (N,) int64."""
    names, index = np.unique(np.asarray(cases, dtype=str), return_inverse=True)
    return tuple(str(name) for name in names), index.reshape(-1)


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean over the first axis without NaN, under R sets of weights.

    Args:
        values: (V, ...) float, NaN where undefined.
        weights: (R, V) non-negative.

    Returns:
        (R, ...) float64; NaN where nothing defined has weight.
    """
    flat = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    defined = ~np.isnan(flat)
    total, count = weights @ np.where(defined, flat, 0.0), weights @ defined.astype(np.float64)
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean.reshape(len(weights), *values.shape[1:])


def ratio(above: np.ndarray, below: np.ndarray, owner: np.ndarray) -> Compute:
    """Sum of `above` by sum of `below` over the rows (V,) of the drawn cases; NaN where the latter is 0.

    Args:
        above: float (V,).
        below: float (V,).
        owner: (V,) int64, the case of each row.
    """

    def compute(weights: np.ndarray) -> np.ndarray:
        drawn = weights[:, owner]
        total = drawn @ below
        return np.divide(drawn @ above, total, out=np.full(len(weights), np.nan), where=total > 0)

    return compute


def defined_mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis without NaN: (..., K) -> (...); NaN where nothing is defined."""
    defined = ~np.isnan(values)
    total, count = np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def in_chunks(compute: Compute, samples: int) -> Compute:
    """`compute` applied to a few resamples at a time: those that hold all samples' weights would not fit otherwise."""
    most = max(1, CHUNK // max(samples, 1))

    def chunked(weights: np.ndarray) -> np.ndarray:
        parts = [compute(weights[start : start + most]) for start in range(0, len(weights), most)]
        return np.concatenate(parts) if parts else np.empty(0)

    return chunked


def named(names: Sequence[str], values: np.ndarray) -> dict[str, float | None]:
    """Values by name, None for NaN."""
    return {name: None if np.isnan(value) else float(value) for name, value in zip(names, values, strict=True)}

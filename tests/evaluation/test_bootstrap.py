from dataclasses import dataclass

import numpy as np
import pytest

from evaluation.bootstrap import interval, paired_interval, per_case, point
from training.bootstrap import draw_counts


@dataclass(frozen=True)
class Mean:
    """The mean over cases; NaN for a multiset without the cases in `needs`."""

    cases: tuple[str, ...]
    numbers: np.ndarray

    def values(self, weights: np.ndarray) -> np.ndarray:
        return weights @ self.numbers / weights.sum(axis=1)


def test_two_cases_give_the_three_possible_means() -> None:
    prediction = Mean(("a", "b"), np.array([0.0, 1.0]))
    resampled = prediction.values(draw_counts(2, seed=0))
    assert set(resampled.tolist()) == {0.0, 0.5, 1.0}
    assert (resampled == 0.5).mean() == pytest.approx(0.5, abs=0.05)  # ab and ba of aa, ab, ba, bb
    assert point(prediction) == 0.5
    assert interval(prediction, seed=0) == (0.0, 1.0)
    assert per_case(prediction) == {"a": 0.0, "b": 1.0}


def test_interval_of_many_cases_is_that_of_the_normal_distribution() -> None:
    numbers = np.random.default_rng(0).normal(size=400)
    low, high = interval(Mean(tuple(map(str, range(400))), numbers), seed=0) or (0.0, 0.0)
    half = 1.96 * numbers.std() / np.sqrt(400)
    assert (low, high) == pytest.approx((numbers.mean() - half, numbers.mean() + half), abs=0.015)


def test_pairing_takes_out_what_cases_share() -> None:
    easy = np.linspace(0, 1, 10)
    cases = tuple(map(str, range(10)))
    first, second = Mean(cases, easy + 0.1), Mean(cases, easy)
    assert paired_interval(first, second, seed=0) == pytest.approx((0.1, 0.1))
    assert paired_interval(first, first, seed=0) == (0.0, 0.0)
    low, high = interval(first, seed=0) or (0.0, 0.0)
    assert high - low > 0.3


def test_other_cases_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="paired predictions are for different cases"):
        paired_interval(Mean(("a",), np.zeros(1)), Mean(("b",), np.zeros(1)), seed=0)


def test_one_case_has_no_interval() -> None:
    assert interval(Mean(("a",), np.ones(1)), seed=0) is None


def test_undefined_resamples_are_left_out() -> None:
    @dataclass(frozen=True)
    class OnlyWithFirst(Mean):
        def values(self, weights: np.ndarray) -> np.ndarray:
            return np.where(weights[:, 0] > 0, 0.7, np.nan)

    prediction = OnlyWithFirst(("a", "b"), np.zeros(2))
    assert interval(prediction, seed=0) == pytest.approx((0.7, 0.7))
    assert per_case(prediction) == {"a": 0.7, "b": None}

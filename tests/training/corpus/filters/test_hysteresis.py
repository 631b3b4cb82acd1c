"""Runs of a score with two thresholds."""

import numpy as np
import pytest

from training.corpus.filters.hysteresis import runs_above

SCORES = np.array([0.6, 0.9, 0.6, 0.1, 0.6, 0.6, 0.1, 0.8])


@pytest.mark.parametrize(
    ("min_seconds", "expected"),
    [
        (0.0, [1, 1, 1, 0, 0, 0, 0, 1]),  # the middle run never reaches the high threshold
        (2.0, [1, 1, 1, 0, 0, 0, 0, 0]),  # the last run lasts one step, 1 s
        (3.0, [1, 1, 1, 0, 0, 0, 0, 0]),
        (3.1, [0, 0, 0, 0, 0, 0, 0, 0]),
    ],
)
def test_runs_start_high_go_on_low_and_last(min_seconds, expected):
    found = runs_above(SCORES, np.arange(8.0), 0.5, 0.7, min_seconds)
    assert found.tolist() == [bool(value) for value in expected]


def test_seconds_count_and_not_samples():
    assert runs_above(SCORES, np.arange(8.0) / 25, 0.5, 0.7, 0.2).sum() == 0
    assert runs_above(SCORES, np.arange(8.0) / 25, 0.5, 0.7, 0.1).sum() == 3


def test_samples_without_times_are_judged_alone():
    assert runs_above(SCORES, np.zeros(8), 0.5, 0.7, 9.0).tolist() == (SCORES >= 0.7).tolist()
    assert runs_above(np.array([]), np.array([]), 0.5, 0.7, 9.0).tolist() == []

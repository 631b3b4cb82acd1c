"""Percentiles in bounded memory."""

import numpy as np
import pytest

from modeling_zen.streaming.report import Durations


def test_percentiles_are_right_within_one_percent() -> None:
    seconds = np.random.default_rng(0).lognormal(mean=-3.5, sigma=0.8, size=5000)
    durations = Durations()
    for value in seconds:
        durations.add(float(value))
    for percent in (1, 50, 95, 99, 100):
        right = 1e3 * float(np.percentile(seconds, percent, method="inverted_cdf"))
        assert durations.percentile_ms(percent) == pytest.approx(right, rel=0.01)
    assert durations.mean_ms() == pytest.approx(1e3 * seconds.mean())
    assert durations.longest == seconds.max()


def test_a_few_durations_by_hand() -> None:
    durations = Durations()
    assert durations.mean_ms() is None
    assert durations.percentile_ms(50) is None
    for value in (0.010, 0.020, 0.030, 0.100):
        durations.add(value)
    assert durations.percentile_ms(50) == pytest.approx(20, rel=0.01)
    assert durations.percentile_ms(75) == pytest.approx(30, rel=0.01)
    assert durations.percentile_ms(99) == pytest.approx(100, rel=0.01)
    assert durations.mean_ms() == pytest.approx(40)
    durations.add(0.0)  # a clock that stood still
    assert durations.percentile_ms(1) == pytest.approx(0.001, rel=0.01)

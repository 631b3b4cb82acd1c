import numpy as np
import pytest

from training.bootstrap import draw_counts, percentiles


def test_each_resample_draws_as_many_units_as_there_are() -> None:
    draws = draw_counts(5, seed=0)
    assert draws.shape == (1000, 5)
    assert (draws.sum(axis=1) == 5).all()
    assert draws.mean(axis=0) == pytest.approx(np.ones(5), abs=0.1)
    assert (draw_counts(5, seed=0) == draws).all()
    assert (draw_counts(5, seed=1) != draws).any()


def test_percentiles_leave_out_what_is_undefined() -> None:
    values = np.append(np.arange(101) / 100, [np.nan] * 7)
    assert percentiles(values) == pytest.approx((0.025, 0.975))
    assert percentiles(np.full(3, np.nan)) is None
    assert percentiles(np.empty(0)) is None

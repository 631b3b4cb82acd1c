import math

import numpy as np
import pytest

from training.diagnostics.rank_me import rank_me


def test_by_hand() -> None:
    assert rank_me(np.ones(4)) == pytest.approx(4, abs=1e-5)
    assert rank_me(np.array([1.0, 0, 0])) == pytest.approx(1, abs=1e-5)
    # p = 3/4, 1/4: the entropy is 3/4 log 4/3 + 1/4 log 4
    assert rank_me(np.array([3.0, 1])) == pytest.approx(math.exp(0.75 * math.log(4 / 3) + 0.25 * math.log(4)), abs=1e-5)


def test_without_features_there_is_no_rank() -> None:
    assert math.isnan(rank_me(np.zeros(3)))

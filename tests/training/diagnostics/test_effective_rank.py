import math

import numpy as np
import pytest

from training.diagnostics.effective_rank import effective_rank


def test_by_hand() -> None:
    assert effective_rank(np.array([2.0, 2])) == pytest.approx(2)
    assert effective_rank(np.array([1.0, 0])) == pytest.approx(1)
    assert effective_rank(np.array([3.0, 1])) == pytest.approx(4 / 3**0.75)  # exp(log 4 - 3/4 log 3)


def test_without_variance_there_is_no_rank() -> None:
    assert math.isnan(effective_rank(np.zeros(3)))

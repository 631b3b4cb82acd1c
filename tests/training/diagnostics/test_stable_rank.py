import math

import numpy as np
import pytest

from training.diagnostics.stable_rank import stable_rank


def test_by_hand() -> None:
    assert stable_rank(np.array([3.0, 1])) == pytest.approx(4 / 3)
    assert stable_rank(np.ones(5)) == pytest.approx(5)


def test_without_variance_there_is_no_rank() -> None:
    assert math.isnan(stable_rank(np.zeros(3)))
    assert math.isnan(stable_rank(np.zeros(0)))

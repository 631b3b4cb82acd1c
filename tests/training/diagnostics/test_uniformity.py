import math

import numpy as np
import pytest

from training.diagnostics.uniformity import uniformity


def test_by_hand() -> None:
    assert uniformity(np.eye(2)) == pytest.approx(-4)
    assert uniformity(np.ones((5, 3))) == pytest.approx(0)
    # [1, 0] twice and [0, 1]: of three pairs one is at distance 0, two at 2.
    assert uniformity(np.array([[1.0, 0], [7, 0], [0, 1]])) == pytest.approx(math.log((1 + 2 * math.exp(-4)) / 3))


def test_a_copy_in_a_resample_is_no_pair() -> None:
    assert uniformity(np.eye(2), np.array([3, 1])) == pytest.approx(-4)
    assert math.isnan(uniformity(np.eye(2), np.array([2, 0])))

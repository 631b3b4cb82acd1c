import numpy as np
import pytest

from training.diagnostics.directions import unit_rows


def test_by_hand() -> None:
    assert unit_rows(np.array([[3.0, 4], [0, 0]])) == pytest.approx(np.array([[0.6, 0.8], [0, 0]]))

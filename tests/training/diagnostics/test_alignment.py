import numpy as np
import pytest

from training.diagnostics.alignment import alignment


def test_by_hand() -> None:
    first, second = np.array([[1.0, 0], [2, 0], [0, 1]]), np.array([[0.0, 3], [1, 0], [0, -2]])
    assert alignment(first, second) == pytest.approx([2, 0, 4])

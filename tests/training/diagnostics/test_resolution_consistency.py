import numpy as np
import pytest

from training.diagnostics.resolution_consistency import centered_cosines


def test_by_hand() -> None:
    first, second = np.array([[2.0, 1], [3, 1], [1, 1]]), np.array([[1.0, 3], [2, 2], [9, 9]])
    assert centered_cosines(first, second, np.array([1.0, 1])) == pytest.approx([0, np.sqrt(0.5), 0])


def test_a_large_common_part_does_not_make_frames_alike() -> None:
    rng = np.random.default_rng(0)
    first, second = (rng.standard_normal((300, 32)) + 100 for _ in range(2))
    assert centered_cosines(first, second, np.zeros(32)).mean() > 0.99
    assert centered_cosines(first, second, np.full(32, 100.0)).mean() == pytest.approx(0, abs=0.05)

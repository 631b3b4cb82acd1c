import math

import numpy as np
import pytest

from training.diagnostics.drift import drift


def circle(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_by_hand() -> None:
    assert drift(circle(0, 90, 180), [(0, 1), (1, 2)]) == pytest.approx(0.75)


def test_smooth_is_low_and_shuffled_is_one() -> None:
    rng = np.random.default_rng(0)
    steps = [(t, t + 1) for t in range(299)]
    assert drift(circle(*np.linspace(0, 180, 300)), steps) < 0.001
    assert drift(rng.standard_normal((300, 8)), steps) == pytest.approx(1, abs=0.05)


def test_what_does_not_move_is_not_called_smooth() -> None:
    assert math.isnan(drift(np.ones((5, 3)), [(0, 1)]))
    assert math.isnan(drift(circle(0, 90), []))

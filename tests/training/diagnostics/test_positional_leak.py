import math

import numpy as np
import pytest

from training.diagnostics.positional_leak import positional_leak


def test_by_hand() -> None:
    assert positional_leak(np.array([[[1.0], [-1]], [[1], [-1]]])) == pytest.approx(1)
    assert positional_leak(np.array([[[1.0], [-1]], [[-1], [1]]])) == pytest.approx(0)
    # Tokens 3, 1 and 1, -1: means 2, 0 around 1 give variance 1; the tokens themselves (4 + 0 + 0 + 4) / 4 = 2.
    assert positional_leak(np.array([[[3.0], [1]], [[1], [-1]]])) == pytest.approx(0.5)


def test_tokens_without_position_score_one_over_the_frames() -> None:
    tokens = np.random.default_rng(0).standard_normal((20, 49, 64)).astype(np.float32) + 1000
    assert positional_leak(tokens) == pytest.approx(1 / 20, abs=0.005)


def test_weights_are_repetitions() -> None:
    tokens = np.random.default_rng(0).standard_normal((4, 3, 2))
    weights = np.array([2, 0, 1, 1])
    assert positional_leak(tokens, weights) == pytest.approx(positional_leak(np.repeat(tokens, weights, axis=0)))


def test_constant_tokens_have_no_leak_to_speak_of() -> None:
    assert math.isnan(positional_leak(np.ones((2, 3, 4))))

import math

import numpy as np
import pytest

from training.diagnostics.lidar import lidar

CLASSES = np.repeat(np.arange(3), 2)


def test_only_directions_that_tell_classes_apart_count() -> None:
    along_one = np.array([[0.0, 0], [0, 2], [4, 1], [4, -1], [-4, 1], [-4, -1]])
    # Class means (0, 1), (4, 0), (-4, 0): nearly all between-class variance lies in x, where classes do not vary.
    assert lidar(along_one, CLASSES) == pytest.approx(1, abs=1e-2)


def test_by_hand_in_white_noise() -> None:
    # Each class varies by ±1 in x and in y alike: Σ_w is round, and only the shape of Σ_b matters.
    within = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    means = np.array([[2.0, 0], [-2, 0], [0, 1], [0, -1]])  # Σ_b = diag(2, 1/2): p = 4/5, 1/5
    features = (means[:, None] + within).reshape(-1, 2)
    expected = math.exp(-(0.8 * math.log(0.8) + 0.2 * math.log(0.2)))
    assert lidar(features, np.repeat(np.arange(4), 4)) == pytest.approx(expected)


def test_wide_features_are_the_same_after_a_rotation_into_more_dimensions() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((6, 2))
    wide = np.concatenate([features, np.zeros((6, 10))], axis=1)
    rotation = np.linalg.qr(rng.standard_normal((12, 12)))[0]
    assert lidar(wide @ rotation, CLASSES) == pytest.approx(lidar(wide[:, :5], CLASSES), rel=1e-3)


def test_weights_are_repetitions_of_classes() -> None:
    features = np.random.default_rng(1).standard_normal((6, 3))
    repeated = np.concatenate([features, features[:2]])
    again = lidar(repeated, np.append(CLASSES, [3, 3]))
    assert lidar(features, CLASSES, np.array([2, 1, 1])) == pytest.approx(again)


def test_constant_classes_have_no_measure_and_single_rows_are_refused() -> None:
    assert math.isnan(lidar(np.repeat(np.eye(3), 2, axis=0), CLASSES))
    features = np.random.default_rng(1).standard_normal((6, 3))
    assert math.isnan(lidar(features, CLASSES, np.zeros(3, int)))
    assert math.isnan(lidar(features, CLASSES, np.array([2, 0, 0])))  # a single class has nothing between
    with pytest.raises(ValueError, match="every class needs at least 2 rows"):
        lidar(np.eye(3), np.arange(3))

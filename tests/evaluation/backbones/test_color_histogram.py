import numpy as np
import pytest

from evaluation.backbones import ColorHistogram


def test_one_color() -> None:
    images = np.zeros((1, 32, 48, 3), dtype=np.uint8)
    images[..., 0] = 255  # pure red: hue 0, saturation 255, value 255
    features = ColorHistogram().extract(images)
    assert features.summary.shape == (1, 192)
    assert features.summary[0].argmax() == 15  # hue bin 0, last of 4 saturation and of 4 value bins
    assert features.summary.sum() == pytest.approx(1)
    assert features.dense.shape == (1, 30, 2, 3)
    assert features.dense[0, :6, 1, 2] == pytest.approx([1, 0, 0, 0, 0, 0])  # mean and deviation of R, G, B
    assert features.dense[0, 6:, 0, 0].sum() == pytest.approx(1)


def test_cells_see_their_own_pixels() -> None:
    images = np.zeros((1, 32, 32, 3), dtype=np.uint8)
    images[0, :16, 16:] = 255
    images[0, 16:, :8, 2] = 51
    dense = ColorHistogram().extract(images).dense[0]
    assert dense[0].tolist() == [[0, 1], [0, 0]]
    assert dense[2, 1, 0] == pytest.approx(0.1)
    assert dense[5, 1, 0] == pytest.approx(0.1)  # half 0, half 0.2


def test_histograms_are_shares_under_a_square_root() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 56, 3), dtype=np.uint8)
    features = ColorHistogram().extract(images)
    assert (features.summary**2).sum(axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    assert (features.dense[:, 6:] ** 2).sum(axis=1) == pytest.approx(np.ones((3, 2, 3)), abs=1e-5)
    ColorHistogram().check_size(40)


def test_identity_is_stable() -> None:
    assert ColorHistogram().identity == ColorHistogram().identity

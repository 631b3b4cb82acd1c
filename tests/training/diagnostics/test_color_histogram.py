import numpy as np
import pytest

from training.diagnostics.color_histogram import color_histogram


def test_one_color() -> None:
    image = np.zeros((32, 48, 3), dtype=np.uint8)
    image[..., 0] = 255  # pure red: hue 0, saturation 255, value 255
    summary, dense = color_histogram(image)
    assert summary.shape == (192,)
    assert summary.argmax() == 15  # hue bin 0, last of 4 saturation and of 4 value bins
    assert summary.sum() == pytest.approx(1)
    assert dense.shape == (30, 2, 3)
    assert dense[:6, 1, 2] == pytest.approx([1, 0, 0, 0, 0, 0])  # mean and deviation of R, G, B
    assert dense[6:, 0, 0].sum() == pytest.approx(1)


def test_cells_see_their_own_pixels() -> None:
    image = np.zeros((32, 32, 3), dtype=np.uint8)
    image[:16, 16:] = 255
    image[16:, :8, 2] = 51
    _, dense = color_histogram(image)
    assert dense[0].tolist() == [[0, 1], [0, 0]]
    assert dense[2, 1, 0] == pytest.approx(0.1)
    assert dense[5, 1, 0] == pytest.approx(0.1)  # half 0, half 0.2


def test_histograms_are_shares_under_a_square_root() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    summary, dense = color_histogram(image)
    assert (summary**2).sum() == pytest.approx(1, abs=1e-5)
    assert (dense[6:] ** 2).sum(axis=0) == pytest.approx(np.ones((2, 3)), abs=1e-5)

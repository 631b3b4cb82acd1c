"""What filters share of a frame."""

import cv2
import numpy as np
import pytest

from training.corpus.filters.picture import SMALL_SIDE, Picture, Timeline


def test_copies_have_the_stated_shapes_and_are_made_once():
    picture = Picture(np.random.default_rng(0).integers(0, 256, (256, 512, 3), dtype=np.uint8), 1.0)
    assert picture.gray.shape == (256, 512)
    assert picture.small.shape == (SMALL_SIDE, 256, 3)
    assert picture.small_gray.shape == (SMALL_SIDE, 256)
    assert picture.small_hsv.shape == (SMALL_SIDE, 256, 3)
    assert picture.thumbnail.shape == (32, 32)
    assert picture.small is picture.small
    assert Picture(picture.frame[:50, :60], 0.0).small.shape == (50, 60, 3)  # never enlarged


def test_numbers_are_those_of_the_gray_levels():
    frame = np.zeros((40, 40, 3), np.uint8)
    frame[20:] = 100
    picture = Picture(frame, 0.0)
    assert picture.luma == 50.0
    # The Laplacian is +100 on the row above the edge, -100 on the row below: mean square 2 * 100^2 / 40.
    assert picture.sharpness == pytest.approx(500.0)
    assert picture.thumbnail[0, 0] == 0
    assert cv2.Laplacian(picture.gray, cv2.CV_32F)[19, 5] == 100


def test_redness_is_that_of_the_redder_part_and_ignores_the_dark():
    frame = np.zeros((100, 100, 3), np.uint8)
    assert np.isnan(Picture(frame, 0.0).redness)
    frame[:60] = (50, 100, 200)  # (50 - 200) / 200
    assert Picture(frame, 0.0).redness == pytest.approx(-0.75, abs=0.01)
    frame[:20] = (200, 100, 50)  # (200 - 100) / 200, on a third of what is lit
    assert Picture(frame, 0.0).redness == pytest.approx(0.5, abs=0.01)


def test_a_timeline_knows_what_is_still_kept():
    assert Timeline(np.arange(3.0), ("", "black", "damaged")).kept.tolist() == [True, False, False]

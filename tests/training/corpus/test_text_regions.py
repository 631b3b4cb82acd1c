"""Boxes as pixels, and pixels made unrecognisable."""

import cv2
import numpy as np
import pytest

from training.corpus.field_of_view import CropBox
from training.corpus.text_regions import blacken, blur, box_pixels


def test_box_pixels_whole_frame_and_crop():
    whole = box_pixels([(0.25, 0.5, 0.5, 0.25)], (100, 200), CropBox(0, 0, 200, 100), (50, 100))
    expected = np.zeros((50, 100), bool)
    expected[25:38, 25:75] = True  # rows 25 to 37.5: the pixel touched in part counts
    np.testing.assert_array_equal(whole, expected)
    cropped = box_pixels([(0.25, 0.5, 0.5, 0.25)], (100, 200), CropBox(100, 40, 200, 100), (60, 100))
    expected = np.zeros((60, 100), bool)
    expected[10:35, :50] = True
    np.testing.assert_array_equal(cropped, expected)


def test_boxes_outside_the_crop_and_none():
    box = CropBox(100, 0, 200, 100)
    assert not box_pixels([(0, 0, 0.4, 1)], (100, 200), box, (100, 100)).any()
    assert not box_pixels([], (100, 200), box, (100, 100)).any()


@pytest.fixture
def name() -> tuple[np.ndarray, np.ndarray]:
    """A frame with a name, and the pixels around it."""
    frame = np.full((128, 256, 3), 90, np.uint8)
    cv2.putText(frame, "DOE JOHN", (40, 70), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 1, cv2.LINE_AA)
    pixels = np.zeros((128, 256), bool)
    pixels[50:76, 36:150] = True
    return frame, pixels


def test_blacken(name):
    frame, pixels = name
    before = frame.copy()
    hidden = blacken(frame, pixels)
    assert not hidden[pixels].any()
    np.testing.assert_array_equal(hidden[~pixels], frame[~pixels])
    np.testing.assert_array_equal(frame, before)


def test_blur_leaves_no_letters(name):
    frame, pixels = name
    before = frame.copy()
    hidden = blur(frame, pixels)
    np.testing.assert_array_equal(hidden[~pixels], frame[~pixels])
    np.testing.assert_array_equal(frame, before)
    gray = cv2.cvtColor(hidden, cv2.COLOR_RGB2GRAY).astype(float)
    steps = np.abs(np.diff(gray[51:75, 37:149], axis=1))
    assert steps.max() <= 4  # the name has steps of up to 165
    assert gray[pixels].std() > 0  # but it is not one color


def test_two_names_of_the_same_ink_give_nearly_the_same_blur(name):
    """What is left of a cell is its mean, so which letters stood there cannot be told."""
    frame, pixels = name
    flipped = frame.copy()
    flipped[50:76, 36:150] = frame[50:76, 36:150][::-1]
    difference = np.abs(blur(frame, pixels).astype(int) - blur(flipped, pixels))
    assert difference.max() <= 8
    assert np.abs(frame.astype(int) - flipped).max() > 150

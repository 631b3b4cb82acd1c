"""The filter of non-surgical screens."""

import cv2
import numpy as np
import pytest

from training.corpus.filters import Picture, Timeline
from training.corpus.filters.screen import ScreenFilter, ScreenSettings


def score(frame: np.ndarray) -> float:
    return ScreenFilter(ScreenSettings()).score([Picture(frame, 0.0)])[0]


def slide(background: tuple[int, int, int], ink: tuple[int, int, int]) -> np.ndarray:
    picture = np.full((256, 455, 3), background, np.uint8)
    for line in range(5):
        cv2.putText(picture, "CASE REPORT of surgery", (40, 50 + 40 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.9, ink, 2)
    return picture


def chart() -> np.ndarray:
    bars = np.array([(191, 191, 191), (191, 191, 0), (0, 191, 191), (0, 191, 0), (191, 0, 191), (0, 0, 191)])
    return np.repeat(bars[np.arange(455) * 6 // 455][None], 256, 0).astype(np.uint8)


@pytest.mark.parametrize(
    "frame",
    [
        slide((240, 240, 235), (20, 20, 60)),
        slide((0, 0, 0), (255, 255, 255)),
        slide((30, 40, 90), (230, 230, 230)),
        chart(),
    ],
    ids=["light", "credits", "dark", "chart"],
)
def test_screens_are_found(frame):
    assert score(frame) >= 0.5


def test_a_plain_gray_frame_has_two_of_three_signs():
    assert score(np.full((100, 100, 3), 128, np.uint8)) == pytest.approx(2 / 3)  # flat, one color, no edges


def test_nothing_red_is_a_screen(scene):
    assert score(slide((150, 20, 20), (255, 255, 255))) == 0
    assert score(scene(1, 256, 320)) < 0.25


def test_a_black_frame_has_no_score_and_drops_start_at_the_threshold():
    assert np.isnan(score(np.zeros((64, 64, 3), np.uint8)))
    drops = ScreenFilter(ScreenSettings()).drops(np.array([np.nan, 0.49, 0.5]), Timeline(np.arange(3.0), ("",) * 3))
    assert drops.tolist() == [False, False, True]

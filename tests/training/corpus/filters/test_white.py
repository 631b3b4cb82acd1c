"""The white-frame filter."""

import numpy as np

from training.corpus.filters import Picture, Timeline
from training.corpus.filters.white import WhiteFilter, WhiteSettings


def score(frame: np.ndarray) -> float:
    return WhiteFilter(WhiteSettings()).score([Picture(frame, 0.0)])[0]


def test_score_is_the_level_that_98_percent_of_the_frame_reach():
    frame = np.full((100, 100, 3), 250, np.uint8)
    assert score(frame) == 250
    frame[:2] = 10  # exactly 2 %
    assert score(frame) == 250
    frame[:3] = 10
    assert score(frame) == 10


def test_drops_from_the_threshold_on():
    judge = WhiteFilter(WhiteSettings(min_luma=200))
    timeline = Timeline(np.arange(4.0), ("",) * 4)
    assert judge.drops(np.array([199.0, 200.0, 255.0, np.nan]), timeline).tolist() == [False, True, True, False]

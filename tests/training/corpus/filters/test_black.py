"""The black-frame filter."""

import numpy as np

from training.corpus.filters import Picture, Timeline
from training.corpus.filters.black import BlackFilter, BlackSettings


def test_score_is_the_mean_luma():
    frame = np.zeros((4, 4, 3), np.uint8)
    frame[:2, :, 1] = 200  # green: BT.601 weight 0.587, on half of the frame
    (score,) = BlackFilter(BlackSettings()).score([Picture(frame, 0.0)])
    assert abs(score - 0.587 * 100) < 0.5


def test_drops_below_the_threshold_only():
    judge = BlackFilter(BlackSettings(min_luma=10))
    timeline = Timeline(np.arange(5.0), ("",) * 5)
    drops = judge.drops(np.array([0.0, 9.99, 10.0, 50.0, np.nan]), timeline)
    assert drops.tolist() == [True, True, False, False, False]

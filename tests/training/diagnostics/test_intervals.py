import numpy as np
import pytest

from training.bootstrap import draw_counts
from training.diagnostics.intervals import Estimate, VideoBootstrap, estimate

VIDEOS = np.array([0, 0, 1, 2])


def test_frames_of_a_video_are_drawn_together() -> None:
    bootstrap = VideoBootstrap(VIDEOS, seed=0, resamples=50)
    draws = bootstrap.ratios(np.array([1.0, 2, 10, np.nan]))
    assert draws[0] == pytest.approx(13 / 3)
    counts = draw_counts(3, 0, 50)
    frames = 2 * counts[:, 0] + counts[:, 1]
    expected = (3 * counts[:, 0] + 10 * counts[:, 1])[frames > 0] / frames[frames > 0]
    assert draws[1:][frames > 0] == pytest.approx(expected)
    assert np.isnan(draws[1:][frames == 0]).all()


def test_ratio_of_sums_is_not_a_mean_of_ratios() -> None:
    bootstrap = VideoBootstrap(VIDEOS, seed=0, resamples=5)
    assert bootstrap.ratios(np.array([1.0, 1, 1, 1]), np.array([1.0, 1, 1, 5]))[0] == pytest.approx(0.5)


def test_a_measure_of_weights_sees_those_of_its_frames() -> None:
    bootstrap = VideoBootstrap(VIDEOS, seed=0, resamples=5)
    counts = draw_counts(3, 0, 5)
    draws = bootstrap.each(lambda weights: float(weights @ [1, 100]), rows=np.array([1, 3]))
    assert draws.tolist() == [101, *(counts[:, 0] + 100 * counts[:, 2]).tolist()]


def test_every_video_counts_once_in_a_mean_over_videos() -> None:
    bootstrap = VideoBootstrap(VIDEOS, seed=0, resamples=5)
    assert bootstrap.of_videos(np.array([1.0, np.nan, 3]))[0] == 2
    assert np.isnan(bootstrap.of_videos(np.full(3, np.nan))).all()


def test_an_interval_is_shifted_by_what_all_resamples_have_in_common() -> None:
    draws = np.append(10.0, np.linspace(4, 6, 101))
    plain, shifted = estimate(draws), estimate(draws, shifted=True)
    assert (plain.low, plain.high) == pytest.approx((4.05, 5.95))
    assert (shifted.value, shifted.low, shifted.high) == pytest.approx((10, 9.05, 10.95))


def test_what_is_undefined_says_so() -> None:
    assert estimate(np.array([np.nan, 1.0])) == Estimate(None, note="undefined: the features do not vary")
    assert estimate(np.array([1.0, np.nan])) == Estimate(1.0)

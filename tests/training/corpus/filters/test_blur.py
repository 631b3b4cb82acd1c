"""The blur filter: relative to its own video, with a floor."""

import cv2
import numpy as np
import pytest

from training.corpus.filters import Picture, Timeline
from training.corpus.filters.blur import BlurFilter, BlurSettings


def run(frames, reasons=None, **changes) -> tuple[list[bool], float]:
    judge = BlurFilter(BlurSettings(**changes))
    scores = np.array(judge.score([Picture(frame, float(second)) for second, frame in enumerate(frames)]))
    dropped = judge.drops(scores, Timeline(np.arange(float(len(frames))), tuple(reasons or [""] * len(frames))))
    return dropped.tolist(), judge.threshold


def texture(seed: int) -> np.ndarray:
    cells = np.random.default_rng(seed).integers(60, 200, (64, 64, 3), dtype=np.uint8)
    return cv2.resize(cells, (256, 256), interpolation=cv2.INTER_CUBIC)


def blurred(frame: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(frame, (0, 0), sigma)


def test_score_is_the_variance_of_the_laplacian():
    frame = np.zeros((40, 40, 3), np.uint8)
    frame[20:] = 100
    # +100 on the row above the edge, -100 on the row below: mean square 2 * 100^2 / 40.
    assert BlurFilter(BlurSettings()).score([Picture(frame, 0.0)]) == [pytest.approx(500.0)]


def test_a_frame_far_below_its_video_goes_and_the_threshold_is_that_of_the_video():
    dropped, threshold = run([texture(1), texture(2), texture(3), blurred(texture(4), 8)])
    assert dropped == [False, False, False, True]
    sharp = sorted(BlurFilter(BlurSettings()).score([Picture(texture(seed), 0.0) for seed in (1, 2, 3)]))
    low = BlurFilter(BlurSettings()).score([Picture(blurred(texture(4), 8), 0.0)])
    assert threshold == pytest.approx(0.07 * np.percentile(sharp + low, 75))


def test_a_soft_video_stays_whole_and_fog_goes_from_any_video():
    assert run([blurred(texture(seed), 3) for seed in range(4)])[0] == [False] * 4
    assert run([np.full((256, 256, 3), 90, np.uint8)] * 4) == ([True] * 4, 6.0)


def test_frames_that_are_gone_already_do_not_say_what_is_usual():
    frames = [texture(1), texture(2), *[blurred(texture(seed), 3) for seed in range(3)]]
    assert run(frames, ["screen", "screen", "", "", ""])[0][2:] == [False] * 3
    assert run(frames, ["black"] * 5)[1] == 6.0  # nothing left to compare with: the floor alone

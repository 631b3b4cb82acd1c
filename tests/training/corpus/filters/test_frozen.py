"""The frozen-frame filter, also through a noisy codec."""

import cv2
import numpy as np
import pytest

from training.corpus.filters import Picture, Timeline
from training.corpus.filters.frozen import FrozenFilter, FrozenSettings


def verdicts(frames, times, **changes) -> list[bool]:
    judge = FrozenFilter(FrozenSettings(**changes))
    scores = judge.score([Picture(frame, time) for frame, time in zip(frames, times, strict=True)])
    return judge.drops(np.array(scores), Timeline(np.array(times, float), ("",) * len(scores))).tolist()


def test_score_is_the_mean_difference():
    judge = FrozenFilter(FrozenSettings())
    gray = np.full((64, 64, 3), 100, np.uint8)
    brighter = gray.copy()
    brighter[:32] += 10
    assert judge.score([Picture(gray, 0.0), Picture(brighter, 1.0)]) == [pytest.approx(float("nan"), nan_ok=True), 5.0]


def test_the_first_of_a_run_stays(scene):
    a, b = scene(1), scene(2)
    assert verdicts([a, a, a, b, b, a], range(6)) == [False, True, True, False, True, False]


def test_neighbors_in_time_are_compared_over_half_a_second(scene):
    frames = [np.roll(scene(1), number // 4, axis=1) for number in range(50)]  # slow: a pixel in four frames
    assert not any(verdicts(frames, np.arange(50) / 25))
    frozen = [scene(1)] * 50
    assert verdicts(frozen, np.arange(50) / 25) == [False] * 13 + [True] * 37


def test_stills_without_times_are_never_frozen(scene):
    assert not any(verdicts([scene(1)] * 5, [0.0] * 5))


@pytest.mark.parametrize("codec", ["mp4v", "MJPG"])
def test_frozen_video_with_sensor_noise_is_found_and_moving_video_is_not(tmp_path, write_video, scene, moving, codec):
    rng = np.random.default_rng(0)
    still = scene(3).astype(np.float32)
    noisy = [np.clip(still + rng.normal(0, 3, still.shape), 0, 255).astype(np.uint8) for _ in range(40)]
    path = write_video(tmp_path / "noisy.avi", moving(2) + noisy, codec=codec)
    capture = cv2.VideoCapture(str(path))
    frames = [cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB) for _ in range(60)][::10]
    assert verdicts(frames, range(6)) == [False, False, False, True, True, True]

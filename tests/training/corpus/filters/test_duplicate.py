"""The filter of duplicates within a video."""

import os
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from training.corpus.filters import Picture, Timeline
from training.corpus.filters.duplicate import DuplicateFilter, DuplicateSettings


def run(frames, reasons=None, **changes) -> tuple[list[float], list[bool]]:
    judge = DuplicateFilter(DuplicateSettings(**changes))
    pictures = [Picture(frame, float(second)) for second, frame in enumerate(frames) if frame is not None]
    answers = iter([*judge.score(pictures[:3]), *judge.score(pictures[3:])])
    scores = np.array([np.nan if frame is None else next(answers) for frame in frames])
    reasons = reasons or ["undecodable" if frame is None else "" for frame in frames]
    return scores.tolist(), judge.drops(scores, Timeline(np.arange(float(len(frames))), tuple(reasons))).tolist()


def coded(frame: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)


def test_a_view_that_comes_back_is_dropped_and_its_score_is_the_distance_in_bits(scene):
    a, b = scene(1), scene(2)
    hashes = [Picture(frame, 0.0).phash for frame in (a, b, coded(a))]
    scores, dropped = run([a, b, coded(a), None, b])
    assert dropped == [False, False, True, False, True]
    between = float((hashes[0] ^ hashes[1]).bit_count())
    near = float((hashes[0] ^ hashes[2]).bit_count())
    assert (scores[:3], scores[4]) == ([float("inf"), between, near], 0.0)
    assert near <= 4 < between


def test_a_frame_that_another_filter_dropped_hides_nothing(scene):
    a, b = scene(1), scene(2)
    assert run([a, b, a, a], ["blur", "", "", ""])[1] == [False, False, False, True]


def test_a_slow_drift_is_thinned_against_kept_frames_and_not_chained_away(scene):
    frames = [np.roll(scene(1), 2 * number, axis=1) for number in range(40)]
    scores, dropped = run(frames)
    assert max(scores[1:]) <= 16
    kept = [number for number, gone in enumerate(dropped) if not gone]
    assert 10 < len(kept) < 40
    hashes = [Picture(frame, 0.0).phash for frame in frames]
    for number in np.flatnonzero(dropped):
        assert min((hashes[number] ^ hashes[other]).bit_count() for other in kept if other < number) <= 4


def test_equal_hashes_of_different_pictures_are_no_duplicates(scene, monkeypatch):
    monkeypatch.setattr("training.corpus.filters.picture.perceptual_hash", lambda gray: 7)
    assert run([scene(1), scene(2), scene(1)])[1] == [False, False, True]
    assert run([scene(1), scene(2), scene(1)], min_correlation=-1.0)[1] == [False, True, True]


def test_max_distance_is_inclusive(scene, monkeypatch):
    hashes = iter([0b0000, 0b1111, 0b11111 << 8])
    monkeypatch.setattr("training.corpus.filters.picture.perceptual_hash", lambda gray: next(hashes))
    assert run([scene(1)] * 3)[1] == [False, True, False]


def test_two_hours_at_1_fps_take_seconds_only():
    rng = np.random.default_rng(0)
    judge = DuplicateFilter(DuplicateSettings())
    pictures = [Picture(frame, 0.0) for frame in rng.integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)]
    start = time.process_time()
    scores = np.array([score for _ in range(450) for score in judge.score(pictures)])
    dropped = judge.drops(scores, Timeline(np.zeros(7200), ("",) * 7200))
    assert dropped.sum() == 7200 - 16
    assert time.process_time() - start < 20  # 1 s on an idle core


@pytest.mark.realdata
@pytest.mark.skipif("ZEN_REALDATA" not in os.environ, reason="needs ZEN_REALDATA")
def test_genuine_moving_laparoscope_at_1_fps_loses_nothing():
    path = min(Path(os.environ["ZEN_REALDATA"], "autolaparo-motion-clips").rglob("*.mp4"))
    capture = cv2.VideoCapture(str(path))
    frames = []
    while capture.grab():
        if int(capture.get(cv2.CAP_PROP_POS_FRAMES)) % 25 == 1:
            small = cv2.resize(capture.retrieve()[1], (455, 256), interpolation=cv2.INTER_AREA)
            frames.append(cv2.cvtColor(small, cv2.COLOR_BGR2RGB))
    assert len(frames) == 10
    assert not any(run(frames)[1])

"""Scene cuts."""

import numpy as np
import pytest

from training.corpus.filters import CutDetector, Picture, Timeline
from training.corpus.filters.cuts import CutSettings


def breaks(scores, reasons=None, **changes) -> set[int]:
    timeline = Timeline(np.arange(float(len(scores))), tuple(reasons or [""] * len(scores)))
    return set(CutDetector(CutSettings(**changes)).breaks(np.array(scores), timeline))


def test_score_needs_other_colors_and_another_layout():
    left, right = np.zeros((2, 64, 64, 3), np.uint8)
    left[:, :32] = right[:, 32:] = (200, 90, 80)  # the same colors, mirrored
    other = np.full((64, 64, 3), (90, 200, 210), np.uint8)
    other[:32] = (20, 40, 60)
    scores = CutDetector(CutSettings()).score([Picture(frame, 0.0) for frame in (left, left, right, other)])
    assert scores == [pytest.approx(float("nan"), nan_ok=True), 0.0, 0.0, pytest.approx(1.0, abs=0.2)]


def test_a_new_scene_begins_where_the_score_stands_out():
    assert breaks([np.nan, 0.1, 0.1, 0.8, 0.1, 0.1]) == {3}
    assert breaks([np.nan, 0.1, 0.1, 0.4, 0.1, 0.1]) == set()
    assert breaks([np.nan, 0.6, 0.5, 0.8, 0.6, 0.7]) == set()  # the camera sweeps all the time
    assert breaks([np.nan, 0.8]) == {1}  # nothing to compare with


def test_only_near_samples_say_what_is_usual():
    calm, wild = [0.1] * 30, [0.45] * 30
    assert breaks([*calm, 0.8, *calm, *wild]) == {30}
    assert breaks([*calm, *wild, 0.8, *wild]) == set()


def test_a_dropped_neighbor_ends_the_clip_anyhow():
    assert breaks([np.nan, 0.1, 0.9, 0.9, 0.1], ["", "", "black", "", ""]) == set()


def test_scores_of_a_detector_go_on_over_batches(scene):
    pictures = [Picture(scene(seed), 0.0) for seed in range(4)]
    whole = CutDetector(CutSettings()).score(pictures)
    parts = CutDetector(CutSettings())
    assert [*parts.score(pictures[:1]), *parts.score([]), *parts.score(pictures[1:])][1:] == whole[1:]

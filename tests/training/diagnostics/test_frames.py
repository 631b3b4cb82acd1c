from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from training.corpus import Corpus
from training.corpus.filters.picture import Picture
from training.diagnostics.frames import _choose_runs, choose_frames, evenly, near_duplicates


def test_evenly_takes_the_middles_of_equal_parts() -> None:
    assert evenly(10, 2).tolist() == [2, 7]
    assert evenly(3, 3).tolist() == [0, 1, 2]
    assert evenly(3, 0).tolist() == []


def test_runs_are_neighbors_of_one_video_and_do_not_overlap() -> None:
    videos = np.repeat([0, 1, 2], [20, 3, 50])
    picked = _choose_runs(videos, 24, 4)
    # A share of 8 frames each: two runs of four from the long videos, all three frames of the short one.
    assert np.bincount(videos[picked]).tolist() == [8, 3, 8]
    assert len(set(picked.tolist())) == len(picked)
    for video in (0, 2):
        own = picked[videos[picked] == video]
        assert np.diff(own).reshape(-1)[[0, 1, 2, 4, 5, 6]].tolist() == [1] * 6
    assert _choose_runs(videos, 1000, 4).tolist() == list(range(73))


def test_of_too_many_videos_some_are_left_out() -> None:
    videos = np.repeat(np.arange(100), 10)
    picked = _choose_runs(videos, 20, 4)
    assert len(picked) == 20
    assert len(set(videos[picked].tolist())) == 5


def test_times_clips_and_stills(tmp_path: Path, write_corpus: Callable[..., Path]) -> None:
    held_out = {"split": "held_out"}
    folder = write_corpus(
        tmp_path / "corpus",
        [
            {"video_id": "b", "num_frames": 3, "t_start": 10.0, "fps": 2.0, **held_out},
            {"video_id": "b", "num_frames": 2, "t_start": 0.0, "fps": 2.0, **held_out},
            {"video_id": "a", "num_frames": 1, "t_start": 0.0, "fps": None, **held_out},
            {"video_id": "a", "num_frames": 1, "t_start": 0.0, "fps": None, **held_out},
            {"video_id": "c", "num_frames": 4},
        ],
    )
    frames = choose_frames(Corpus.open(folder), "held_out", 100, 4, 16)
    assert frames.images.shape == (7, 3, 16, 16)
    b = ~np.isnan(frames.times)
    assert len(set(frames.videos[b].tolist())) == 1
    assert not set(frames.videos[b].tolist()) & set(frames.videos[~b].tolist())
    assert frames.times[b].tolist() == [0, 0.5, 10, 10.5, 11]  # in the order of time, not of the manifest
    assert b.sum() == 5  # the two stills have no time line
    # Red is ten times the number of the clip, green ten times the position.
    colors = frames.images[b].float().mean(dim=(2, 3))[:, :2]
    assert colors.numpy() == pytest.approx(np.array([[10, 0], [10, 10], [0, 0], [0, 10], [0, 20]]), abs=2)
    assert frames.valid.all()
    assert len(frames.spread(3)) == 3


def test_near_duplicates_are_found_by_the_rule_of_the_corpus() -> None:
    coarse = np.random.default_rng(0).integers(40, 200, (2, 6, 6, 3), dtype=np.uint8)
    first, other = (cv2.resize(each, (80, 64), interpolation=cv2.INTER_CUBIC) for each in coarse)
    brighter = np.clip(first.astype(np.int64) + 20, 0, 255).astype(np.uint8)
    pictures = [Picture(each, 0.0) for each in (first, other, brighter)]
    hashes = np.array([each.phash for each in pictures], np.uint64)
    alike = near_duplicates(hashes, [each.thumbnail for each in pictures])
    assert alike.tolist() == [[False, False, True], [False, False, False], [True, False, False]]


def test_a_corpus_without_the_split_gives_none(tmp_path: Path, write_corpus: Callable[..., Path]) -> None:
    folder = write_corpus(tmp_path / "corpus", [{"num_frames": 2}])
    assert len(choose_frames(Corpus.open(folder), "held_out", 8, 4, 16)) == 0

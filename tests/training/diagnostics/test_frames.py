from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from training.corpus import Corpus
from training.diagnostics.frames import _choose_runs, choose_frames, evenly


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
    by_video = {caption.split(",")[0]: video for caption, video in zip(frames.captions, frames.videos, strict=True)}
    b = frames.videos == by_video["b"]
    assert frames.times[b].tolist() == [0, 0.5, 10, 10.5, 11]  # in the order of time, not of the manifest
    assert np.isnan(frames.times[~b]).all()  # a folder of stills has no time line
    assert frames.captions[int(np.flatnonzero(b)[1])] == "b, 0.5 s"
    # Red is ten times the number of the clip, green ten times the position.
    colors = frames.images[b].float().mean(dim=(2, 3))[:, :2]
    assert colors.numpy() == pytest.approx(np.array([[10, 0], [10, 10], [0, 0], [0, 10], [0, 20]]), abs=2)
    assert frames.valid.all()
    assert len(frames.spread(3)) == 3


def test_near_duplicates_are_found_by_the_rule_of_the_corpus(tiny_corpus: Path) -> None:
    frames = choose_frames(Corpus.open(tiny_corpus), "held_out", 8, 4, 32)
    assert frames.alike.shape == (8, 8)
    assert not frames.alike.any()  # random color fields


def test_a_corpus_without_the_split_gives_none(tmp_path: Path, write_corpus: Callable[..., Path]) -> None:
    folder = write_corpus(tmp_path / "corpus", [{"num_frames": 2}])
    assert len(choose_frames(Corpus.open(folder), "held_out", 8, 4, 16)) == 0

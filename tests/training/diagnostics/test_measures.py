"""What measures.py puts together; the formulas have tests of their own."""

import numpy as np
import pytest
import torch

from training.diagnostics.features import SubjectFeatures
from training.diagnostics.frames import Frames
from training.diagnostics.intervals import VideoBootstrap
from training.diagnostics.measures import (
    dense_quality,
    likeness_to_teacher,
    one_token_each,
    resolution,
    sphere,
    spread_of_features,
    time,
    without_looking,
)
from training.diagnostics.rows import Row, RowMaker
from training.diagnostics.settings import DiagnoseSettings
from training.diagnostics.subjects import HistogramSubject
from training.diagnostics.warps import WARPS
from training.teachers.teacher import TeacherOutput

N, ROWS = 12, np.array([0, 5, 11])
VIDEOS = np.repeat(np.arange(3), 4)


def frames(times: np.ndarray | None = None, clips: np.ndarray | None = None) -> Frames:
    return Frames(
        images=torch.zeros(N, 3, 8, 8, dtype=torch.uint8),
        valid=torch.ones(N, 8, 8, dtype=torch.bool),
        videos=VIDEOS,
        clips=VIDEOS if clips is None else clips,
        codes=np.zeros((N, 2), np.int64),
        times=np.tile(np.arange(4.0), 3) if times is None else times,
        alike=np.zeros((N, N), bool),
    )


def features(seed: int = 0, count: int = N) -> TeacherOutput:
    generator = torch.Generator().manual_seed(seed)
    return TeacherOutput(torch.randn(count, 5, generator=generator), torch.randn(count, 6, 4, 4, generator=generator))


def subject_features(whole: TeacherOutput) -> SubjectFeatures:
    warped = {warp.name: features(1, len(ROWS)) for warp in WARPS}
    chosen = torch.from_numpy(ROWS)
    assert whole.summary is not None
    assert whole.dense is not None
    same = TeacherOutput(whole.summary[chosen], whole.dense[chosen])
    return SubjectFeatures(HistogramSubject((32, 32)), whole, warped, {2.0: same})


def maker() -> RowMaker:
    return RowMaker("m", VideoBootstrap(VIDEOS, 0, 10))


def by_name(rows: list[Row]) -> dict[tuple[str, str, str], Row]:
    found = {(row.measure, row.tokens, row.variant): row for row in rows}
    assert len(found) == len(rows)
    return found


def test_ranks_know_their_cap_and_lidar_its_classes() -> None:
    rows = by_name(spread_of_features(maker(), features(), frames(), 0))
    assert rows["rank_me", "frame", ""].most == 5
    assert rows["rank_me", "dense", ""].most == 6
    assert rows["lidar", "frame", ""].most == 2  # three clips
    stills = by_name(spread_of_features(maker(), features(), frames(clips=np.arange(N)), 0))
    assert stills["lidar", "frame", ""].value is None
    assert stills["lidar", "frame", ""].note == "needs 3 clips of at least 2 of the frames, there are 0"


def test_one_dense_token_of_every_frame() -> None:
    whole = features()
    assert whole.dense is not None
    tokens = one_token_each(whole, 0)
    assert tokens.shape == (N, 6)
    flat = whole.dense.flatten(2).numpy()
    places = [np.flatnonzero((flat[n] == tokens[n][:, None]).all(axis=0)).tolist() for n in range(N)]
    assert all(len(own) == 1 for own in places)
    assert len({own[0] for own in places}) > 3


def test_a_model_is_like_itself() -> None:
    rows = by_name(likeness_to_teacher(maker(), features(), "t", features(), 3))
    assert rows["cka", "frame", ""].value == pytest.approx(1)
    assert rows["mutual_knn", "frame", "k=3"].value == 1
    assert rows["mutual_knn", "frame", "k=3"].chance == pytest.approx(3 / 11)
    few = by_name(likeness_to_teacher(maker(), features(), "t", features(), N))
    assert few["mutual_knn", "frame", f"k={N}"].note == f"{N} neighbors need more than {N} frames"


def test_unwarped_tokens_are_matched_where_they_stay() -> None:
    whole = features()
    own = subject_features(whole)
    own.warped["color"] = own.resized[2.0]  # recolored frames that the model does not tell from the originals
    rows = by_name(dense_quality(maker(), own, frames(), ROWS, 4))
    assert rows["pck", "dense", "color"].value == 1
    assert rows["cycle_consistency", "dense", "color"].value == 1
    assert rows["pck", "dense", "shift"].value is not None
    assert rows["pck", "dense", "shift"].value < 0.6
    assert rows["positional_leak", "dense", ""].chance == 1 / N
    floors = {(row.model, row.variant): row.value for row in without_looking(maker().bootstrap, frames(), ROWS, 20)}
    assert floors["positions alone", "color"] == 1
    assert floors["positions alone", "shift"] == 0
    assert floors["a random match", "rotation"] == pytest.approx(0.03, abs=0.005)


def test_equal_features_are_consistent_and_other_sizes_have_their_name() -> None:
    rows = by_name(resolution(maker(), subject_features(features()), frames(), ROWS))
    assert rows["resolution_consistency", "frame", "2 x (64 px)"].value == pytest.approx(1)
    assert rows["resolution_consistency", "dense", "2 x (64 px)"].value == pytest.approx(1)
    fixed = SubjectFeatures(HistogramSubject((32, 32)), features(), {}, {})
    assert resolution(maker(), fixed, frames(), ROWS)[0].note == "it takes inputs of one size only"


def test_time_needs_a_time_line() -> None:
    settings = DiagnoseSettings(tau_seconds=1.0, recall_at=(1,))
    rows = by_name(time(maker(), features(), frames(), settings))
    assert rows["temporal_retrieval", "frame", "k=1, ±1 s"].value is not None
    assert rows["same_video_retrieval", "frame", "k=1"].value is not None
    assert rows["drift", "frame", ""].value == pytest.approx(1, abs=0.4)
    stills = by_name(time(maker(), features(), frames(times=np.full(N, np.nan)), settings))
    assert {row.value for row in stills.values()} == {None}
    assert stills["drift", "frame", ""].note == "no video has three frames with steps of at most 1 s"
    assert stills["temporal_retrieval", "frame", "k=1, ±1 s"].note == "no video with a time line has frames to find"


def test_alignment_is_the_mean_over_warps() -> None:
    whole = features()
    own = subject_features(whole)
    for name in own.warped:
        own.warped[name] = own.resized[2.0] if name != "shift" else _negated(own.resized[2.0])
    rows = by_name(sphere(maker(), own, frames(), ROWS))
    assert rows["alignment", "frame", ""].value == pytest.approx(1)  # 4 for the opposite, 0 for the three others
    assert rows["uniformity", "frame", ""].value < 0


def _negated(features: TeacherOutput) -> TeacherOutput:
    assert features.summary is not None
    return TeacherOutput(-features.summary, features.dense)


def test_a_row_says_only_what_there_is_to_say() -> None:
    row = maker().missing("lidar", "no clips", tokens="frame")
    assert row.to_dict() == {"measure": "lidar", "model": "m", "value": None, "note": "no clips", "tokens": "frame"}

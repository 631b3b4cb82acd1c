"""Spoiled videos: the truth says of every frame what was done to it."""

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from modeling_zen.video_decoding_zen import open_video
from training.corpus.synthetic.records import (
    CameraMotion,
    FieldOfView,
    FrameRecord,
    SyntheticCase,
    SyntheticDataset,
    read_info,
)
from training.corpus.synthetic.spoiling import SpoiledCase, spoil
from training.corpus.synthetic.writer import write_video

HEIGHT, WIDTH, FPS, FRAMES = 96, 128, 6, 240


def wandering(seed: int) -> list[np.ndarray]:
    """A camera that never sees the same place twice, and detail of the size of a few pixels."""
    scene = cv2.resize(
        np.random.default_rng(seed).integers(40, 220, (HEIGHT // 4, (WIDTH + 2 * FRAMES) // 4, 3), dtype=np.uint8),
        (WIDTH + 2 * FRAMES, HEIGHT),
    )
    return [np.ascontiguousarray(scene[:, 2 * index : 2 * index + WIDTH]) for index in range(FRAMES)]


def record(index: int) -> FrameRecord:
    visibility = "black" if 100 <= index < 106 else "surgical"
    camera, circle = CameraMotion(0, 0, 1, 0), FieldOfView(64, 48, 200)
    return FrameRecord(index, index / FPS, "p", "f", (), (), (), camera, visibility, index == 110, 0.0, circle, False)


@pytest.fixture(scope="module")
def plain(corpus: SyntheticDataset, tmp_path_factory: pytest.TempPathFactory) -> SyntheticDataset:
    folder = tmp_path_factory.mktemp("plain")
    cases = []
    for number in range(2):
        video = folder / f"case{number}.mp4"
        write_video(wandering(number), video, Fraction(FPS), WIDTH, HEIGHT)
        cases.append(SyntheticCase("train", f"case{number}", video, folder, tuple(map(record, range(FRAMES)))))
    return SyntheticDataset(folder, read_info(corpus.root), tuple(cases))


@pytest.fixture(scope="module")
def spoiled(plain: SyntheticDataset, tmp_path_factory: pytest.TempPathFactory) -> list[SpoiledCase]:
    return spoil(plain, tmp_path_factory.mktemp("spoiled"))


def frames_of(video: Path) -> np.ndarray:
    with open_video(video) as reader:
        return np.concatenate([chunk.pixels.numpy() for chunk in reader]).astype(np.float32)


def test_every_defect_is_there_and_named(spoiled: list[SpoiledCase]) -> None:
    second = spoiled[1]  # the one without a cut and without an interface
    counts = {name: second.truth.count(name) for name in sorted(set(second.truth))}
    lengths = {"white": 12, "blur": 18, "duplicate": 18, "black": 6, "frozen": 1, "trim": 6, "screen": 36}
    assert counts == {"": FRAMES - sum(lengths.values()), **lengths}
    assert second.truth[:6] == ("trim",) * 6
    assert second.truth[6:24] == ("screen",) * 18
    assert (second.cut, second.overlay) == (None, None)


def test_the_frames_are_what_the_truth_says(spoiled: list[SpoiledCase], plain: SyntheticDataset) -> None:
    case, before = spoiled[1], frames_of(plain.cases[1].video)
    after, truth = frames_of(case.video), np.array(case.truth)
    assert after.shape == before.shape
    assert after[truth == "white"].min() > 220
    untouched = np.isin(truth, ["", "trim"])
    assert np.abs(after[untouched] - before[untouched]).mean(axis=(1, 2, 3)).max() < 4
    assert after[truth == "blur"].std(axis=(1, 2)).mean() < 0.5 * before[truth == "blur"].std(axis=(1, 2)).mean()
    for again in after[truth == "duplicate"]:
        first = np.abs(before - again).mean(axis=(1, 2, 3))
        assert first.min() < 4
        assert truth[first.argmin()] == ""


def test_a_cut_shows_another_operation_and_an_interface_stays(
    spoiled: list[SpoiledCase], plain: SyntheticDataset
) -> None:
    case = spoiled[0]
    assert case.cut is not None
    assert case.cut >= FRAMES // 2
    assert case.overlay is not None
    after, truth = frames_of(case.video), np.array(case.truth)
    good = np.flatnonzero(truth == "")
    other = frames_of(plain.cases[1].video)
    beside = ~case.overlay
    for number in (good[good >= case.cut][0], good[-1]):
        assert np.abs(after[number] - other[number])[beside].mean() < 4
    assert after[good][:, case.overlay].std(axis=0).mean() < 3
    assert 0.05 < case.overlay.mean() < 0.25


def test_the_same_seed_gives_the_same_truth(
    spoiled: list[SpoiledCase], plain: SyntheticDataset, tmp_path: Path
) -> None:
    again = spoil(plain, tmp_path)
    assert [case.truth for case in again] == [case.truth for case in spoiled]
    assert [case.truth for case in spoil(plain, tmp_path, seed=1)] != [case.truth for case in spoiled]

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.datasets import multibypass140
from evaluation.datasets.multibypass140 import PHASES, STEPS, fold_split
from evaluation.datasets.workflow import WORKFLOW_DATASETS, WorkflowDataset, load_split
from tests.evaluation.datasets.layouts import split, write_images, write_mp4
from training.errors import UserError

REALDATA = os.environ.get("ZEN_REALDATA", "")

# ms: before 1,500 and from 8,000 on there is no phase; out-of-body time lies outside of and within a phase.
PHASE_ENTRIES = [
    {"start": 1500, "end": 4200, "label_name": "preparation", "label_id": 0},
    {"start": 4200, "end": 8000, "label_name": "gastric_pouch_creation", "label_id": 1},
    {"start": 0, "end": 1500, "label_name": "out_of_body", "label_id": 12},
    {"start": 5000, "end": 6000, "label_name": "out_of_body", "label_id": 12},
    {"start": 5000, "end": 5500, "label_name": "severe_index", "label_id": 13},
]
STEP_ENTRIES = [
    {"start": 1500, "end": 6100, "label_name": "s2_trocar_placement", "label_id": 2},
    {"start": 6100, "end": 8000, "label_name": "s45_specimen_retrieval", "label_id": 45},
]
# The same at 1 fps: second t is labeled by what holds at t + 1 s.
OFFICIAL = [(1, 0, 2), (2, 0, 2), (3, 0, 2), (4, 1, 2), (5, 1, 2), (6, 1, 45)]


def labels(root: Path, case: str) -> Path:
    return root / "labels" / ("bern" if case.startswith("BBP") else "strasbourg")


def media(root: Path, case: str) -> Path:
    return root / "datasets" / "MultiBypass140" / ("BernBypass70" if case.startswith("BBP") else "StrasBypass70")


def write_json(root: Path, case: str, **changes: Any) -> Path:
    file = labels(root, case) / "labels_by70" / f"{case}.mp4.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"phases": PHASE_ENTRIES, "steps": STEP_ENTRIES, **changes}))
    return file


def official_rows(case: str) -> list[dict[str, Any]]:
    return [
        {
            "Frame_id": f"{case}_{second + 1:08d}",
            "Original_frame_id": second,
            "Phase_gt": phase,
            "Step_gt": step,
            "unique_id": 10**10 + second,
        }
        for second, phase, step in OFFICIAL
    ]


def write_pickle(root: Path, case: str, place: str, rows: object = None) -> Path:
    file = labels(root, case) / "labels_by70_splits" / "labels" / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(pickle.dumps({case: official_rows(case) if rows is None else rows}))
    return file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Videos with JSON: Bern at 25 fps, Strasbourg at 50."""
    root = tmp_path / "MultiBypass140"
    for case, fps in (("BBP01", 25), ("SBP01", 50)):
        write_mp4(media(root, case) / "videos" / f"{case}.mp4", 9 * fps, fps)
        write_json(root, case)
    return root


def scan(root: Path, fps: float = 1) -> WorkflowDataset:
    return multibypass140.scan(root, split(["BBP01"], ["SBP01"]), fps)


def read(root: Path, fps: float = 1, case: int = 0) -> list[tuple[int, int, int]]:
    video = scan(root, fps).videos[case]
    return list(zip(video.frames.tolist(), *(video.labels[name].tolist() for name in ("phase", "step")), strict=True))


def test_intervals_of_the_json_go_by_the_clock(root: Path) -> None:
    seconds = [(2, 0, 2), (3, 0, 2), (4, 0, 2), (5, 1, 2), (6, 1, 2), (7, 1, 45)]
    assert read(root) == [(25 * t, phase, step) for t, phase, step in seconds]
    assert read(root, case=1) == [(50 * t, phase, step) for t, phase, step in seconds]
    assert [(video.case_id, video.side, video.fps) for video in scan(root).videos] == [
        ("BBP01", "train", 25),
        ("SBP01", "test", 50),
    ]
    at_25 = read(root, fps=25)
    assert at_25[0] == (38, 0, 2)  # 1.52 s; frame 37 is at 1.48
    assert (105, 1, 2) in at_25  # 4.2 s belongs to the second phase
    assert at_25[-1] == (199, 1, 45)  # 7.96 s
    assert len(at_25) == 200 - 38


def test_pickles_come_first_at_one_frame_a_second(root: Path) -> None:
    write_pickle(root, "BBP01", "val/1fps_3.pickle")
    # The last frames before 1.5 s, 2.5 s ...: 37 / 25 = 1.48, 62 / 25 = 2.48
    assert read(root) == [(25 * second + 12, phase, step) for second, phase, step in OFFICIAL]
    assert [frame for frame, _, _ in read(root, fps=0.5)] == [62, 112, 162]
    assert len(read(root, fps=5)) == 32  # the JSON: 1.6 s, 1.8 s ... 7.8 s, and 8.0 s is no longer labeled
    labels(root, "BBP01").joinpath("labels_by70", "BBP01.mp4.json").unlink()
    assert len(read(root, fps=5)) == len(OFFICIAL)


@pytest.mark.parametrize("name", ["{case}_{number:08d}.jpg", "img{number}.jpg"])
@pytest.mark.parametrize("official", [False, True])
def test_images_have_the_official_labels_either_way(official: bool, name: str, root: Path) -> None:
    (media(root, "BBP01") / "videos" / "BBP01.mp4").unlink()
    folder = media(root, "BBP01") / "frames" / "BBP01"
    write_images(folder, [name.format(case="BBP01", number=number) for number in range(1, 10)])
    if official:
        write_pickle(root, "BBP01", "train/1fps_100_0.pickle")
    assert read(root) == OFFICIAL
    assert [path.name for path in scan(root).videos[0].files][:2] == [
        name.format(case="BBP01", number=number) for number in (2, 3)
    ]
    assert [frame for frame, _, _ in read(root, fps=0.5)] == [2, 4, 6]


@pytest.mark.parametrize("place", ["datasets", "MultiBypass140", "."])
def test_places_of_the_videos(place: str, root: Path) -> None:
    for name in ("BernBypass70", "StrasBypass70"):
        (root / place).mkdir(exist_ok=True)
        (root / "datasets" / "MultiBypass140" / name).rename(root / place / name)
    assert len(read(root)) == 6


def test_linked_frames_are_not_found_twice(root: Path) -> None:
    (media(root, "BBP01") / "videos" / "BBP01.mp4").unlink()
    write_images(media(root, "BBP01") / "frames" / "BBP01", [f"BBP01_{n:08d}.jpg" for n in range(1, 10)])
    (labels(root, "BBP01") / "labels_by70_splits").mkdir()
    (labels(root, "BBP01") / "labels_by70_splits" / "frames").symlink_to(media(root, "BBP01") / "frames")
    assert read(root) == OFFICIAL


def test_folds_as_the_pickles_define_them(root: Path) -> None:
    for place, case in (("train/1fps_100_2.pickle", 3), ("val/1fps_2.pickle", 5), ("test/1fps_2.pickle", 4)):
        for letters in ("BBP", "SBP"):
            write_pickle(root, f"{letters}{case:02d}", place)
    both = fold_split(root, 2)
    assert (both.name, both.train, both.val, both.test) == (
        "bern_and_strasbourg_fold2",
        ("BBP03", "SBP03"),
        ("BBP05", "SBP05"),
        ("BBP04", "SBP04"),
    )
    assert fold_split(root, 2, ["strasbourg"]).test == ("SBP04",)
    with pytest.raises(UserError, match=r"bern/labels_by70_splits/labels/train/1fps_100_3.pickle' is missing"):
        fold_split(root, 3)


def test_found_and_shipped_splits(root: Path) -> None:
    assert multibypass140.find(root.parent) == root
    assert multibypass140.find(root / "datasets") is None
    assert WORKFLOW_DATASETS.get("multibypass140").tracks == ("phase", "step")
    for name in ("bern_fold1", "bern_fold2", "bern_fold3", "bern_fold4"):
        fold = load_split("multibypass140", name)
        assert [len(side) for side in (fold.train, fold.val, fold.test)] == [40, 10, 20]
    across = load_split("multibypass140", "bern_to_strasbourg")
    assert [len(side) for side in (across.train, across.val, across.test)] == [60, 10, 70]
    assert {case[:3] for case in across.train + across.val} == {"BBP"}
    assert {case[:3] for case in across.test} == {"SBP"}
    assert len(load_split("multibypass140", "strasbourg_to_bern").test) == 70
    assert (len(PHASES), len(set(STEPS)), STEPS[39]) == (12, 46, "coagulation")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"phases": []}, r"BBP01.mp4.json' has no list of 'phases'"),
        (
            {"steps": [{"start": 0, "end": 1}]},
            r"entry 1 of 'steps' in '.*json' lacks label_name, or start and end in ms",
        ),
        (
            {"phases": [*PHASE_ENTRIES, {"start": 8000, "end": 9000, "label_name": "lunch"}]},
            r"entry 6 of 'phases' in '.*json' has the unknown label 'lunch'; known are preparation",
        ),
        (
            {"steps": [{"start": 9, "end": 8, "label_name": "s0_null_step"}]},
            r"entry 1 of 'steps' .* ends at 8 ms, before its start at 9 ms",
        ),
        (
            {"phases": [*PHASE_ENTRIES, {"start": 7000, "end": 9000, "label_name": "disassembling"}]},
            r"two phases of '.*json' overlap at 7000 ms",
        ),
        (
            {"phases": [{"start": 0, "end": 10100, "label_name": "preparation"}]},
            r"labels of '.*BBP01.mp4.json' reach to 10.1 s, but '.*BBP01.mp4' ends at 9.0 s",
        ),
    ],
)
def test_broken_json(changes: dict[str, Any], message: str, root: Path) -> None:
    write_json(root, "BBP01", **changes)
    with pytest.raises(UserError, match=message):
        scan(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Phase_gt": 12}, r"row 2 of BBP01 in '.*1fps_0.pickle' has Phase_gt 12; known are 0 to 11"),
        ({"Step_gt": "x"}, r"row 2 of BBP01 in '.*' has Step_gt 'x'; known are 0 to 45"),
        ({"Original_frame_id": 9}, r"has Original_frame_id 9, which is not that of Frame_id 'BBP01_00000003'"),
        ({"Original_frame_id": 300, "Frame_id": "BBP01_00000301"}, r""),
    ],
)
def test_broken_rows_of_pickles(change: dict[str, Any], message: str, root: Path) -> None:
    rows = official_rows("BBP01")
    rows[1].update(change)
    write_pickle(root, "BBP01", "val/1fps_0.pickle", rows)
    if message:
        with pytest.raises(UserError, match=message):
            scan(root)
    else:
        assert len(read(root)) == len(OFFICIAL) - 1  # one row behind the end has no frame


def test_broken_pickles(root: Path) -> None:
    write_pickle(root, "BBP01", "val/1fps_0.pickle", [])
    with pytest.raises(UserError, match=r"1fps_0.pickle' is no dictionary of video -> rows"):
        scan(root)
    write_pickle(root, "BBP01", "val/1fps_0.pickle", [{"Frame_id": "BBP01_00000001"}])
    with pytest.raises(
        UserError, match=r"row 1 of BBP01 in '.*' lacks Frame_id, Original_frame_id, Phase_gt or Step_gt"
    ):
        scan(root)
    rows = [{**row, "Original_frame_id": row["Original_frame_id"] + 5} for row in official_rows("BBP01")]
    rows = [{**row, "Frame_id": f"BBP01_{row['Original_frame_id'] + 1:08d}"} for row in rows]
    write_pickle(root, "BBP01", "val/1fps_0.pickle", rows)
    with pytest.raises(
        UserError, match=r"row 4 of '.*1fps_0.pickle' is of frame 237, but '.*BBP01.mp4' has 225 frames"
    ):
        scan(root)


def test_missing_files(root: Path) -> None:
    write_json(root, "BBP01").unlink()
    with pytest.raises(
        UserError, match=r"'BBP01' of the split is in no pickle below '.*' and has no '.*BBP01.mp4.json'"
    ):
        scan(root)
    (media(root, "BBP01") / "videos" / "BBP01.mp4").unlink()
    with pytest.raises(UserError, match=r"'BBP01' of the split has neither a video such as '.*BBP01.mp4' nor a folder"):
        scan(root)
    with pytest.raises(UserError, match=r"case 'XBP01' of split 'tiny' is of no centre; known are BBP01, SBP01"):
        multibypass140.scan(root, split(["XBP01"], ["SBP01"]), 1)


def test_images_that_do_not_fit(root: Path) -> None:
    (media(root, "BBP01") / "videos" / "BBP01.mp4").unlink()
    folder = media(root, "BBP01") / "frames" / "BBP01"
    write_images(folder, [f"{n}.jpg" for n in range(9)])
    with pytest.raises(UserError, match=r"frames/BBP01' count from 0, not from 1"):
        scan(root)
    (folder / "0.jpg").unlink()
    write_images(folder, ["200.jpg"])  # extracted at 25 fps
    with pytest.raises(UserError, match=r"numbered up to 200, but labels of '.*json' reach to 8 s; one image a second"):
        scan(root)
    for name in ("200.jpg", "3.jpg", "4.jpg"):
        (folder / name).unlink()
    write_pickle(root, "BBP01", "val/1fps_0.pickle")
    with pytest.raises(UserError, match=r"image 3 of '.*BBP01' is missing, it is labeled in '.*1fps_0.pickle'"):
        scan(root)


@pytest.mark.realdata
@pytest.mark.skipif(not REALDATA, reason="MultiBypass140: ZEN_REALDATA is not set")
def test_genuine_labels(tmp_path: Path) -> None:
    source = Path(REALDATA) / "annotations" / "multibypass140"
    for centre in ("bern", "strasbourg"):
        (tmp_path / "labels" / centre).mkdir(parents=True)
        (tmp_path / "labels" / centre / "labels_by70").symlink_to(source / centre)
    for case, seconds in (("BBP01", 5060), ("SBP01", 5141)):
        folder = media(tmp_path, case) / "frames" / case
        folder.mkdir(parents=True)
        for number in range(1, seconds + 1):
            (folder / f"{case}_{number:08d}.jpg").touch()
    # Counted by hand from the intervals: preparation of BBP01 is 13,301 to 1,371,912 ms, so seconds 14 to 1371.
    counts = {
        "BBP01": [1358, 719, 59, 1110, 77, 174, 0, 1475, 0, 0, 53, 0],
        "SBP01": [247, 935 + 121, 34 + 131, 1023, 79, 108, 346, 1198, 577, 99, 242, 0],
    }
    for video in scan(tmp_path).videos:
        assert np.bincount(video.labels["phase"], minlength=len(PHASES)).tolist() == counts[video.case_id]
        assert (video.labels["step"] >= 0).mean() > 0.99

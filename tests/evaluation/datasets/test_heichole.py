import random
from pathlib import Path

import pytest

from evaluation.datasets import heichole
from evaluation.datasets.workflow import WORKFLOW_DATASETS, WorkflowDataset, load_split
from tests.evaluation.datasets.layouts import edit_line, split, write_images, write_mp4, write_table
from training.errors import UserError

FRAMES = 110
PHASES = [0] * 40 + [6] * 40 + [4] * 30
CASES = {"Hei-Chole1": 25, "Hei-Chole16": 50}


def table(root: Path, kind: str, case: str = "Hei-Chole1") -> Path:
    return root / "Annotations" / kind / f"{case}_Annotation_{kind}.csv"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Instruments: a grasper, from frame 50 on a stapler and an undefined shaft. Actions: hold, from 50 on clip."""
    root = tmp_path / "HeiChole"
    for case, fps in CASES.items():
        write_mp4(root / "Videos" / "Full" / f"{case}.mp4", FRAMES, fps)
        write_table(table(root, "Phase", case), [], enumerate(PHASES), ",")
        early, late = [1] + [0] * 20, [0] * 6 + [1] + [0] * 13 + [1]
        rows = [[frame, *(early if frame < 50 else late)] for frame in range(FRAMES)]
        write_table(table(root, "Instrument", case), [], rows, ",")
        (root / "Annotations" / "Instrument" / f"{case}_Annotation_Instrument_Detailed.csv").touch()
        rows = [[frame, 0, int(frame < 50), 0, int(frame >= 50)] for frame in range(FRAMES)]
        write_table(table(root, "Action", case), [], rows, ",")
    return root


def scan(root: Path, fps: float = 1) -> WorkflowDataset:
    return heichole.scan(root, split(["Hei-Chole1"], ["Hei-Chole16"]), fps)


def test_three_tracks_at_the_rate_of_each_video(root: Path) -> None:
    slow, fast = scan(root).videos
    assert (slow.case_id, slow.side, slow.fps, slow.frames.tolist()) == (
        "Hei-Chole1",
        "train",
        25,
        [0, 25, 50, 75, 100],
    )
    assert (fast.case_id, fast.side, fast.fps, fast.frames.tolist()) == ("Hei-Chole16", "test", 50, [0, 50, 100])
    assert slow.seconds.tolist() == [0, 1, 2, 3, 4]
    assert slow.labels["phase"].tolist() == [0, 0, 6, 6, 4]
    assert fast.labels["phase"].tolist() == [0, 6, 4]
    assert fast.labels["tool"].tolist() == [[1, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 1]]
    assert fast.labels["action"].tolist() == [[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1]]


def test_names_in_any_case_of_letters(root: Path) -> None:
    (root / "Videos").rename(root / "videos")
    (root / "videos" / "Full").rename(root / "videos" / "full")
    (root / "Annotations").rename(root / "annotations")
    (root / "annotations" / "Phase" / "Hei-Chole1_Annotation_Phase.csv").rename(
        root / "annotations" / "Phase" / "hei-chole1_annotation_phase.CSV"
    )
    assert heichole.find(root.parent) == root
    assert len(scan(root).videos) == 2


def test_a_header_of_words_is_taken_as_one(root: Path) -> None:
    write_table(table(root, "Phase"), ["Frame", "Phase"], enumerate(PHASES), ",")
    assert scan(root).videos[0].labels["phase"].tolist() == [0, 0, 6, 6, 4]


def test_frames_without_instruments_are_unlabeled(root: Path) -> None:
    write_table(table(root, "Action"), [], [[frame, 0, 0, 0, 1] for frame in range(60)], ",")
    assert scan(root).videos[0].labels["action"][:, 3].tolist() == [1, 1, 1, -1, -1]


@pytest.mark.parametrize(("case", "names"), [("Hei-Chole1", range(5)), ("Hei-Chole16", range(0, FRAMES, 50))])
def test_frames_instead_of_videos(case: str, names: range, root: Path) -> None:
    (root / "Videos" / "Full" / f"{case}.mp4").unlink()
    write_images(root / "frames" / case, [f"{name}.jpg" for name in names])
    video = next(video for video in scan(root).videos if video.case_id == case)
    assert video.fps == CASES[case]
    assert video.frames.tolist() == list(range(0, FRAMES, CASES[case]))
    assert len(video.files) == len(names)


def test_a_video_of_another_rate(root: Path) -> None:
    video = root / "Videos" / "Full" / "Hei-Chole1.mp4"
    write_mp4(video, FRAMES, 50)  # with a label for every frame: the rate known of this video was wrong
    assert scan(root).videos[0].frames.tolist() == [0, 50, 100]
    write_mp4(video, 2 * FRAMES, 50)
    with pytest.raises(
        UserError, match=r"Hei-Chole1.mp4' has 220 frames at 50 .* labels 110; put the original .* of 25"
    ):
        scan(root)
    write_mp4(video, FRAMES // 2, 25)
    with pytest.raises(
        UserError, match=r"row 56 of '.*Phase.csv' is of frame 55, but '.*Hei-Chole1.mp4' has 55 frames"
    ):
        scan(root)


def test_folds_cover_each_video_once() -> None:
    folds = [load_split("heichole", f"fold{number}") for number in range(1, 6)]
    assert load_split("heichole") == folds[0]
    order = list(range(1, 25))
    random.Random(0).shuffle(order)
    names = [{f"Hei-Chole{number}" for number in order[place::5]} for place in range(5)]
    assert [set(fold.test) for fold in folds] == names
    assert [set(fold.val) for fold in folds] == [*names[1:], names[0]]
    assert all(len({*fold.train, *fold.val, *fold.test}) == 24 for fold in folds)
    assert WORKFLOW_DATASETS.get("heichole").tracks == ("phase", "tool", "action")


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("Phase", "2,7", r"row 3 of '.*Phase.csv' holds 7; known are 0 to 6"),
        ("Phase", "2,x", r"row 3 of '.*Phase.csv' holds 'x', not a whole number"),
        ("Phase", "2,99999999999999999999", r"row 3 of '.*Phase.csv' holds '9+', not a whole number"),
        ("Phase", "2,-1", r"row 3 of '.*Phase.csv' holds -1; known are 0 to 6"),
        ("Phase", "0,1", r"row 3 of '.*Phase.csv' is of frame 0, after frame 1"),
        ("Action", "2,0,0,0", r"row 3 of '.*Action.csv' has 4 cells, not 5"),
        ("Action", "2,0,0,0,2", r"row 3 of '.*Action.csv' holds 2; known are 0 to 1"),
    ],
)
def test_broken_rows(kind: str, text: str, message: str, root: Path) -> None:
    edit_line(table(root, kind), 3, text)
    with pytest.raises(UserError, match=message):
        scan(root)


def test_broken_files(root: Path) -> None:
    edit_line(table(root, "Action"), 1, "-1,0,0,0,1")
    with pytest.raises(UserError, match=r"row 1 of '.*Action.csv' is of frame -1; frames count from 0"):
        scan(root)
    write_table(table(root, "Action"), [], [[frame, 0, 0, 0, 1] for frame in range(FRAMES + 2)], ",")
    with pytest.raises(UserError, match=r"row 111 of '.*Action.csv' is of frame 110, which the phases .* 0 to 109"):
        scan(root)
    table(root, "Instrument").write_text("Frame\n")
    with pytest.raises(UserError, match=r"Instrument.csv' has no rows"):
        scan(root)
    table(root, "Instrument").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"Instrument.csv' cannot be read as text"):
        scan(root)
    table(root, "Action").unlink()
    with pytest.raises(
        UserError, match=r"'Hei-Chole1' of the split has no label file such as '.*_Annotation_Action.csv'"
    ):
        scan(root)
    table(root, "Phase").rename(table(root, "Phase").with_name("heichole01_annotation_phase.csv"))
    assert heichole.find(root) == root
    write_table(table(root, "Phase"), [], enumerate(PHASES), ",")
    with pytest.raises(UserError, match=r"Hei-Chole1_Annotation_Phase.csv' and '.*phase.csv' are both of case"):
        scan(root)


def test_a_missing_video(root: Path) -> None:
    (root / "Videos" / "Full" / "Hei-Chole16.mp4").unlink()
    with pytest.raises(
        UserError, match=r"'Hei-Chole16' of the split has neither a video such as '.*Full/Hei-Chole16.mp4'"
    ):
        scan(root)

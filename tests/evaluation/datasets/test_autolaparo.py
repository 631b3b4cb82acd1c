import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from evaluation.datasets import autolaparo
from evaluation.datasets.workflow import WORKFLOW_DATASETS, WorkflowDataset, load_split
from tests.evaluation.datasets.layouts import edit_line, split, write_images, write_mp4, write_table
from training.errors import UserError

REALDATA = os.environ.get("ZEN_REALDATA", "")
TASK = "Task 1 Surgical workflow recognition"


def write_labels(folder: Path, number: int, phases: Sequence[int], first: int = 1) -> Path:
    return write_table(folder / "labels" / f"label_{number:02d}.txt", ["Frame", "Phase"], enumerate(phases, first))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "AutoLaparo"
    for number, phases in ((1, [1, 2, 2]), (15, [2, 3, 7])):
        write_mp4(root / TASK / "videos" / f"{number:02d}.mp4", 60)
        write_labels(root / TASK, number, phases)
    (root / "Task 2 Laparoscope motion prediction").mkdir()
    return root


def scan(root: Path, fps: float = 1) -> WorkflowDataset:
    return autolaparo.scan(root, split(["01"], ["15"]), fps)


def phases(dataset: WorkflowDataset) -> list[list[int]]:
    return [video.labels["phase"].tolist() for video in dataset.videos]


def test_rows_count_from_one_at_one_frame_a_second(root: Path) -> None:
    dataset = scan(root, fps=25)
    assert [(video.case_id, video.side, video.fps) for video in dataset.videos] == [
        ("01", "train", 25),
        ("15", "test", 25),
    ]
    assert dataset.videos[0].frames.tolist() == [0, 25, 50]  # Frame 1 is native frame 0
    assert phases(dataset) == [[0, 1, 1], [1, 2, 6]]
    assert dataset.tracks[0].classes[6] == "Washing"


def test_labels_that_are_shifted_already(root: Path) -> None:
    write_labels(root / TASK, 1, [0, 1, 1])
    write_labels(root / TASK, 15, [1, 2, 6])  # has no 0 itself: decided over the set
    assert phases(scan(root)) == [[0, 1, 1], [1, 2, 6]]


def test_all_label_files_decide_even_those_outside_of_the_split(root: Path) -> None:
    write_labels(root / TASK, 15, [2, 3, 4])
    with pytest.raises(
        UserError, match=r"Task 1.*labels' are 1, 2, 3, 4, of which it cannot be told whether .* 0 to 6"
    ):
        scan(root)
    write_labels(root / TASK, 16, [7])
    assert phases(scan(root)) == [[0, 1, 1], [1, 2, 3]]
    write_labels(root / TASK, 17, [0])
    with pytest.raises(UserError, match=r"are 0, 1, 2, 3, 4, 7, of which it cannot be told"):
        scan(root)


@pytest.mark.parametrize("name", ["task1", "Task_1", "TASK 1 workflow", "."])
def test_shortened_names(name: str, root: Path) -> None:
    if name == ".":
        for child in list((root / TASK).iterdir()):
            child.rename(root / child.name)
    else:
        (root / TASK).rename(root / name)
    assert autolaparo.find(root.parent) == root
    assert phases(scan(root)) == [[0, 1, 1], [1, 2, 6]]


def test_task_10_is_another_and_two_are_too_many(root: Path) -> None:
    (root / TASK).rename(root / "Task 10")
    with pytest.raises(UserError, match=r"AutoLaparo' has no folder 'Task 1 ...' with labels/label_01.txt in it"):
        scan(root)
    for name in ("Task 1", "task1"):
        write_labels(root / name, 1, [1])
    with pytest.raises(UserError, match=r"Task 1' and '.*task1' both look like task 1; one of them is expected"):
        scan(root)


def test_frames_instead_of_videos(root: Path) -> None:
    (root / TASK / "videos" / "15.mp4").unlink()
    write_images(root / TASK / "frames" / "15", ["0001.jpg", "0002.jpg", "0003.jpg"])
    video = scan(root).videos[1]
    assert ([file.name for file in video.files], video.frames.tolist()) == (
        ["0001.jpg", "0002.jpg", "0003.jpg"],
        [0, 25, 50],
    )


def test_registered_with_the_official_split() -> None:
    official = load_split("autolaparo")
    assert [len(side) for side in (official.train, official.val, official.test)] == [10, 4, 7]
    assert (official.side_of("11"), official.side_of("15")) == ("val", "test")
    assert WORKFLOW_DATASETS.get("autolaparo").tracks == ("phase",)


def test_what_is_wrong_is_named(root: Path) -> None:
    file = root / TASK / "labels" / "label_01.txt"
    edit_line(file, 3, "2\t8")
    with pytest.raises(UserError, match=r"row 2 of '.*label_01.txt' has the unknown phase '8'; known are 0, 1, 2"):
        scan(root)
    write_labels(root / TASK, 1, [1, 2], first=0)
    with pytest.raises(UserError, match=r"row 1 of '.*label_01.txt' is of Frame 0; frames count from 1"):
        scan(root)
    write_labels(root / TASK, 1, [1, 2, 3, 4, 5])
    with pytest.raises(UserError, match=r"row 4 of '.*label_01.txt' is of frame 75, but '.*01.mp4' has 60 frames"):
        scan(root)
    write_labels(root / TASK, 1, [1, 2, 3, 4])  # one row behind the end
    assert phases(scan(root))[0] == [0, 1, 2]
    write_table(root / TASK / "labels" / "label_1.txt", ["Frame", "Phase"], [(1, 1)])
    with pytest.raises(UserError, match=r"'.*label_01.txt' and '.*label_1.txt' are both of case '01'"):
        scan(root)


@pytest.mark.realdata
@pytest.mark.skipif(not REALDATA, reason="AutoLaparo: ZEN_REALDATA is not set")
def test_genuine_labels(tmp_path: Path) -> None:
    """Labels of videos 1-3 as another project republished them: a row `02_1.png,2` is frame 1 of phase 2."""
    source = Path(REALDATA) / "annotations" / "peskavlp-phase-csv" / "autolaparo"
    for number in (1, 2, 3):
        with (source / f"{number:02d}.csv").open(newline="") as stream:
            rows = [(row["path"].split("_")[1].removesuffix(".png"), row["label"]) for row in csv.DictReader(stream)]
        write_table(tmp_path / "task1" / "labels" / f"label_{number:02d}.txt", ["Frame", "Phase"], rows)
        folder = tmp_path / "task1" / "frames" / f"{number:02d}"
        folder.mkdir(parents=True)
        for frame, _ in rows:
            (folder / f"{int(frame):04d}.jpg").touch()
    videos = autolaparo.scan(tmp_path, split(["01", "02"], ["03"]), 1).videos
    # Counted by hand from the runs of equal labels; video 2 has no phase 1, which must not shift it.
    assert [np.bincount(video.labels["phase"], minlength=7).tolist() for video in videos] == [
        [0, 380 + 340, 360 + 1140, 1258, 0, 2306, 244 + 358],
        [0, 980, 820, 420, 60, 1041, 297],
        [20, 398 + 322, 84 + 316, 280, 40, 738, 800],
    ]
    assert [(video.seconds[-1], video.files[-1].name) for video in videos] == [
        (6385, "6386.jpg"),
        (3617, "3618.jpg"),
        (2997, "2998.jpg"),
    ]

from pathlib import Path

import pytest

from evaluation.datasets import m2cai16_tool, m2cai16_workflow
from evaluation.datasets.workflow import WORKFLOW_DATASETS, WorkflowDataset, load_split
from tests.evaluation.datasets.layouts import edit_line, split, write_images, write_mp4, write_table
from training.errors import UserError

PHASES = ["TrocarPlacement"] * 20 + ["Preparation"] * 20 + ["GallbladderRetraction"] * 12


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "m2cai"
    for home, case in (("train_dataset", "workflow_video_01"), ("test_dataset", "test_workflow_video_01")):
        write_mp4(root / home / f"{case}.mp4", len(PHASES))
        (root / home / f"{case}_timestamp.txt").touch()
        write_table(root / home / f"{case}.txt", ["Frame", "Phase"], enumerate(PHASES))
    return root


def scan(root: Path) -> WorkflowDataset:
    return m2cai16_workflow.scan(root, split(["workflow_video_01"], ["test_workflow_video_01"]), 1)


def test_phases_by_name_on_both_sides(root: Path) -> None:
    dataset = scan(root)
    assert [(v.case_id, v.side, v.video.parent.name) for v in dataset.videos] == [
        ("workflow_video_01", "train", "train_dataset"),
        ("test_workflow_video_01", "test", "test_dataset"),
    ]
    assert [video.labels["phase"].tolist() for video in dataset.videos] == [[0, 1, 7], [0, 1, 7]]
    assert dataset.videos[1].frames.tolist() == [0, 25, 50]


def test_frames_instead_of_videos(root: Path) -> None:
    (root / "test_dataset" / "test_workflow_video_01.mp4").unlink()
    write_images(root / "frames" / "test_workflow_video_01", ["0.jpg", "25.jpg", "50.jpg"])
    assert [file.name for file in scan(root).videos[1].files] == ["0.jpg", "25.jpg", "50.jpg"]


def test_found_and_not_taken_for_the_tools(root: Path) -> None:
    assert m2cai16_workflow.find(root.parent) == root
    assert m2cai16_tool.find(root.parent) is None
    assert WORKFLOW_DATASETS.get("m2cai16_workflow").tracks == ("phase",)


def test_shipped_split() -> None:
    official = load_split("m2cai16_workflow")
    assert (official.name, len(official.train), official.val, len(official.test)) == ("official", 27, (), 14)


def test_what_is_wrong_is_named(root: Path) -> None:
    edit_line(root / "train_dataset" / "workflow_video_01.txt", 4, "2\tPhase")
    with pytest.raises(
        UserError, match=r"row 3 of '.*/workflow_video_01.txt' has the unknown phase 'Phase'; known are Tro"
    ):
        scan(root)
    (root / "train_dataset" / "workflow_video_01.txt").rename(root / "train_dataset" / "workflow_video_1.txt")
    edit_line(root / "train_dataset" / "workflow_video_1.txt", 4, "2\tPreparation")
    assert scan(root).videos[0].labels["phase"].tolist() == [0, 1, 7]
    write_mp4(root / "train_dataset" / "workflow_video_1.mp4", 3)
    with pytest.raises(UserError, match=r"workflow_video_01.mp4' and '.*workflow_video_1.mp4' are both of case"):
        scan(root)
    (root / "train_dataset" / "workflow_video_1.mp4").unlink()
    (root / "test_dataset" / "test_workflow_video_01.txt").unlink()
    with pytest.raises(UserError, match=r"no label file such as '.*test_dataset/test_workflow_video_01.txt'"):
        scan(root)

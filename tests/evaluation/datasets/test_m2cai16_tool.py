from pathlib import Path

import pytest

from evaluation.datasets import m2cai16_tool
from evaluation.datasets.cholec80 import TOOLS
from evaluation.datasets.workflow import WORKFLOW_DATASETS, WorkflowDataset, load_split
from tests.evaluation.datasets.layouts import edit_line, split, write_images, write_mp4, write_table
from training.errors import UserError

ROWS = [(0, 1, 0, 0, 0, 0, 0, 0), (25, 0, 0, 1, 0, 0, 0, 1), (50, 0, 0, 0, 0, 0, 0, 0)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "m2cai"
    for home, case in (("train_dataset", "tool_video_01"), ("test_dataset", "tool_video_11")):
        write_mp4(root / home / f"{case}.mp4", 60)
        write_table(root / home / f"{case}.txt", ["Frame", *TOOLS], ROWS)
    return root


def scan(root: Path, fps: float = 1) -> WorkflowDataset:
    return m2cai16_tool.scan(root, split(["tool_video_01"], ["tool_video_11"]), fps)


@pytest.mark.parametrize("fps", [1, 25])
def test_only_labeled_frames_are_there(fps: float, root: Path) -> None:
    dataset = scan(root, fps)
    assert [(video.case_id, video.video.parent.name) for video in dataset.videos] == [
        ("tool_video_01", "train_dataset"),
        ("tool_video_11", "test_dataset"),
    ]
    assert dataset.videos[0].frames.tolist() == [0, 25, 50]
    assert dataset.videos[0].labels["tool"].tolist() == [list(row[1:]) for row in ROWS]


def test_frames_instead_of_videos_and_the_other_name(root: Path) -> None:
    (root / "test_dataset" / "tool_video_11.mp4").unlink()
    (root / "test_dataset" / "tool_video_11.txt").rename(root / "test_dataset" / "test_tool_video_11.txt")
    write_images(root / "frames" / "tool_video_11", ["1.jpg", "2.jpg", "3.jpg"])
    video = scan(root).videos[1]
    assert (video.frames.tolist(), len(video.files)) == ([0, 25, 50], 3)


def test_found_and_shipped_split(root: Path) -> None:
    assert m2cai16_tool.find(root.parent) == root
    assert m2cai16_tool.find(root / "train_dataset") is None
    official = load_split("m2cai16_tool")
    assert (len(official.train), official.val, official.test[0], len(official.test)) == (10, (), "tool_video_11", 5)
    assert WORKFLOW_DATASETS.get("m2cai16_tool").tracks == ("tool",)


def test_what_is_wrong_is_named(root: Path) -> None:
    write_mp4(root / "test_dataset" / "tool_video_11.mp4", 20)
    with pytest.raises(UserError, match=r"row 2 of '.*tool_video_11.txt' is of frame 25, but '.*11.mp4' has 20 frames"):
        scan(root)
    edit_line(root / "train_dataset" / "tool_video_01.txt", 3, "25\t0\t0\t1\t0\t0\t0\t-1")
    with pytest.raises(UserError, match=r"row 2 of '.*tool_video_01.txt' has SpecimenBag '-1'; it is 0 or 1"):
        scan(root)
    (root / "train_dataset" / "tool_video_01.mp4").unlink()
    edit_line(root / "train_dataset" / "tool_video_01.txt", 3, None)
    with pytest.raises(UserError, match=r"neither a video such as '.*train_dataset/tool_video_01.mp4' nor a folder"):
        scan(root)

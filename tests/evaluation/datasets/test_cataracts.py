from pathlib import Path

import numpy as np
import pytest

from evaluation.datasets import cataracts
from evaluation.datasets.workflow import WORKFLOW_DATASETS, WorkflowDataset, load_split
from tests.evaluation.datasets.layouts import edit_line, split, write_images, write_mp4, write_table
from training.errors import UserError

LENGTH = 75
TOOLS = [tool.lower().replace("bonn", "Bonn") for tool in cataracts.TOOLS]  # spelled otherwise than ours
HEADER = ["Frame", "to_be_evaluated", *TOOLS]


def tools(root: Path, case: str) -> Path:
    return root / "tool_annotations" / f"{case}.csv"


def steps(root: Path, case: str) -> Path:
    return root / "phase_annotations" / f"{case}.csv"


def cells(frame: int) -> list[object]:
    """Cotton on all frames; the experts disagree on the last tool from frame 31, from 61 on nothing is to be scored."""
    presence: list[object] = [0] * 21
    presence[5], presence[20] = 1, 0.5 if frame >= 31 else 0
    return [frame, int(frame < 61), *presence]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """train01 comes as images, test02 as a video."""
    root = tmp_path / "CATARACTS"
    for case in ("train01", "test02"):
        write_table(tools(root, case), HEADER, map(cells, range(1, LENGTH + 1)), ",")
        write_table(steps(root, case), ["Frame", "Steps"], [(f, 3 * (f > 30)) for f in range(1, LENGTH + 1)], ",")
    write_images(root / "train01", [f"frame{number}.jpg" for number in range(1, LENGTH + 1)])
    write_mp4(root / "videos" / "test02.mp4", LENGTH, fps=30)
    return root


def scan(root: Path, fps: float = 1) -> WorkflowDataset:
    return cataracts.scan(root, split(["train01"], ["test02"]), fps)


def test_tools_and_steps_of_native_frames_from_1(root: Path) -> None:
    images, video = scan(root).videos
    assert (images.case_id, images.side, images.fps, images.frames.tolist()) == ("train01", "train", 30, [0, 30, 60])
    assert [file.name for file in images.files] == ["frame1.jpg", "frame31.jpg", "frame61.jpg"]
    assert (video.case_id, video.side, video.frames.tolist(), video.files) == ("test02", "test", [0, 30, 60], ())
    for each in (images, video):
        assert each.labels["step"].tolist() == [0, 3, 3]
        wanted = np.zeros((3, 21), np.int8)
        wanted[:, 5], wanted[1, 20], wanted[2] = 1, -1, -1  # a tool in dispute; a frame that is not to be scored
        assert (each.labels["tool"] == wanted).all()
    assert (len(cataracts.TOOLS), len(cataracts.STEPS)) == (21, 19)


def test_columns_go_by_name_and_one_of_them_may_be_missing(root: Path) -> None:
    write_table(tools(root, "train01"), ["Frame", *reversed(TOOLS)], [[1, *[1] + [0] * 20]], ",")
    write_table(steps(root, "train01"), ["Frame", "Steps"], [(1, 18)], ",")
    (root / "train01" / "frame2.jpg").rename(root / "frame1.jpg")
    for path in (root / "train01").iterdir():
        if path.name != "frame1.jpg":
            path.unlink()
    assert scan(root).videos[0].labels["tool"].tolist() == [[0] * 20 + [1]]


def test_every_nth_image(root: Path) -> None:
    for path in (root / "train01").iterdir():
        if int(path.stem.removeprefix("frame")) % 10 != 1:
            path.unlink()
    (root / "frames").mkdir()
    (root / "train01").rename(root / "frames" / "TRAIN01")
    video = scan(root, fps=3).videos[0]
    assert video.frames.tolist() == [0, 10, 20, 30, 40, 50, 60, 70]
    assert video.files[3].name == "frame31.jpg"
    assert video.labels["step"].tolist() == [0, 0, 0, 3, 3, 3, 3, 3]


def test_without_steps(root: Path) -> None:
    for path in (root / "phase_annotations").iterdir():
        path.unlink()
    (root / "phase_annotations").rmdir()
    assert scan(root).videos[0].labels["step"].tolist() == [-1, -1, -1]


def test_found_and_registered(root: Path) -> None:
    assert cataracts.find(root.parent) == cataracts.find(root) == root
    assert cataracts.find(root / "train01") is None
    assert WORKFLOW_DATASETS.get("cataracts").tracks == ("tool", "step")


def test_shipped_split() -> None:
    shipped = load_split("cataracts")
    assert [len(side) for side in (shipped.train, shipped.val, shipped.test)] == [25, 5, 20]
    assert shipped.val == ("test01", "test07", "test14", "test16", "test19")
    assert (shipped.side_of("train25"), shipped.side_of("test25")) == ("train", "test")


@pytest.mark.parametrize(
    ("kind", "line", "text", "message"),
    [
        ("tool", 3, "2,1" + ",0.7" * 21, r"row 2 of '.*train01.csv' has biomarker '0.7'; it is 0, 0.5 or 1"),
        ("tool", 3, "2,2" + ",0" * 21, r"row 2 of '.*train01.csv' has to_be_evaluated '2'; it is 0 or 1"),
        ("tool", 3, "1,1" + ",0" * 21, r"row 2 of '.*train01.csv' is of frame 1, after frame 1"),
        ("tool", 2, "0,1" + ",0" * 21, r"row 1 of '.*train01.csv' is of Frame 0; frames count from 1"),
        ("tool", 1, ",".join(["Frame", "x", *TOOLS[1:], "y"]), r"train01.csv' has no column 'Biomarker'; its columns"),
        ("step", 3, "2,19", r"row 2 of '.*phase_annotations/train01.csv' has the step '19'; known are 0 to 18"),
        ("step", 2, "0,0", r"row 1 of '.*phase_annotations/train01.csv' is of Frame 0; frames count from 1"),
    ],
)
def test_broken_rows(kind: str, line: int, text: str, message: str, root: Path) -> None:
    edit_line({"tool": tools, "step": steps}[kind](root, "train01"), line, text)
    with pytest.raises(UserError, match=message):
        scan(root)


def test_tables_of_another_video(root: Path) -> None:
    table = steps(root, "test02")
    table.write_text(table.read_text() + f"{LENGTH + 1},0\n")  # one frame too many is known to happen
    assert len(scan(root).videos) == 2
    table.write_text(table.read_text() + f"{LENGTH + 2},0\n")
    with pytest.raises(UserError, match=r"row 76 of '.*test02.csv' is of frame 75, which .* frames 0 to 74, do not"):
        scan(root)
    write_mp4(root / "videos" / "test02.mp4", 60, fps=30)
    table.unlink()
    with pytest.raises(UserError, match=r"'test02' of the split has no label file such as '.*test02.csv'"):
        scan(root)
    write_table(table, ["Frame", "Steps"], [(1, 0)], ",")
    with pytest.raises(UserError, match=r"row 61 of '.*test02.csv' is of frame 60, but '.*test02.mp4' has 60 frames"):
        scan(root)


def test_images_that_are_not_named_by_native_frame(root: Path) -> None:
    (root / "train01" / "frame40.jpg").rename(root / "frame40.jpg")
    with pytest.raises(UserError, match=r"train01' has no images between frames 39 and 41, but one every 1 frames bef"):
        scan(root)
    (root / "frame40.jpg").rename(root / "train01" / "frame40.jpg")
    write_images(root / "train01", ["frame0.jpg"])
    with pytest.raises(UserError, match=r"train01' holds images numbered 0 to 75, but '.*' labels the native frames 1"):
        scan(root)
    for path in (root / "train01").iterdir():
        path.unlink()
    write_images(root / "train01", ["frame1.jpg", "frame2.jpg", "frame3.jpg"])  # one a second, counted
    with pytest.raises(UserError, match=r"numbered 1 to 3, but '.*train01.csv' labels the native frames 1 to 75"):
        scan(root)


def test_files_that_are_missing_or_too_many(root: Path) -> None:
    (root / "frames" / "train01").mkdir(parents=True)
    with pytest.raises(UserError, match=r"CATARACTS/train01' and '.*frames/train01' are both of case 'train01'"):
        scan(root)
    (root / "frames" / "train01").rmdir()
    write_mp4(root / "videos" / "test02.mp4", LENGTH, fps=25)
    with pytest.raises(UserError, match=r"test02.mp4' runs at 25 frames/s, its labels count 30"):
        scan(root)
    (root / "videos" / "test02.mp4").unlink()
    with pytest.raises(UserError, match=r"'test02' of the split has neither images such as '.*test02/frame1.jpg' nor"):
        scan(root)
    tools(root, "test02").unlink()
    with pytest.raises(UserError, match=r"'test02' of the split has no label file such as '.*tool_annotations/test02"):
        scan(root)

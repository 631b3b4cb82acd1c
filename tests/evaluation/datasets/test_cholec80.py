from pathlib import Path

import numpy as np
import pytest

from evaluation.datasets import cholec80
from evaluation.datasets.workflow import WORKFLOW_DATASETS, WorkflowDataset, load_split
from tests.evaluation.datasets.layouts import edit_line, split, write_images, write_mp4, write_table
from training.errors import UserError

PHASES = ["Preparation"] * 20 + ["GallbladderRetraction"] * 20 + ["GallbladderPackaging"] * 21  # 61 frames


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "cholec80"
    for case in ("video01", "video02"):
        write_mp4(root / "videos" / f"{case}.mp4", len(PHASES))
        (root / "videos" / f"{case}-timestamp.txt").touch()
        write_table(root / "phase_annotations" / f"{case}-phase.txt", ["Frame", "Phase"], enumerate(PHASES))
        rows = [(0, 1, 0, 0, 0, 0, 0, 0), (25, 0, 0, 1, 0, 0, 0, 1), (50, 0, 0, 0, 0, 0, 1, 0)]
        write_table(root / "tool_annotations" / f"{case}-tool.txt", ["Frame", *cholec80.TOOLS], rows)
    return root


def scan(root: Path, fps: float = 1) -> WorkflowDataset:
    return cholec80.scan(root, split(["video01"], ["video02"]), fps)


def test_phases_and_tools_of_one_frame_a_second(root: Path) -> None:
    dataset = scan(root)
    assert [(v.case_id, v.side, v.video.name) for v in dataset.videos] == [
        ("video01", "train", "video01.mp4"),
        ("video02", "test", "video02.mp4"),
    ]
    first = dataset.videos[0]
    assert first.frames.tolist() == [0, 25, 50]
    assert first.seconds.tolist() == [0, 1, 2]
    assert first.labels["phase"].tolist() == [0, 6, 4]  # Retraction is 6, Packaging 4: by name
    assert first.files == ()
    assert first.labels["tool"].tolist() == [[1, 0, 0, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0, 1], [0, 0, 0, 0, 0, 1, 0]]


def test_tools_between_their_rows_are_unlabeled(root: Path) -> None:
    tools = scan(root, fps=25).videos[0].labels["tool"]
    assert np.flatnonzero((tools != -1).all(axis=1)).tolist() == [0, 25, 50]
    assert (tools[1:25] == -1).all()


def test_the_last_frame_can_lack_a_tool_row(root: Path) -> None:
    edit_line(root / "tool_annotations" / "video01-tool.txt", 4, None)
    video = scan(root).videos[0]
    assert video.labels["phase"].tolist() == [0, 6, 4]
    assert video.labels["tool"][2].tolist() == [-1] * 7


def test_tool_columns_go_by_name(root: Path) -> None:
    file = root / "tool_annotations" / "video01-tool.txt"
    write_table(file, ["Frame", *reversed(cholec80.TOOLS)], [(0, 1, 0, 0, 0, 0, 0, 0)])
    assert scan(root).videos[0].labels["tool"][0].tolist() == [0, 0, 0, 0, 0, 0, 1]


def test_frames_instead_of_videos(root: Path) -> None:
    (root / "videos" / "video01.mp4").unlink()
    write_images(root / "frames" / "video01", [f"{i:05d}.png" for i in range(3)])
    video = scan(root).videos[0]
    assert [file.name for file in video.files] == ["00000.png", "00001.png", "00002.png"]
    assert (video.frames.tolist(), video.labels["phase"].tolist()) == ([0, 25, 50], [0, 6, 4])


def test_found_and_registered(root: Path) -> None:
    assert cholec80.find(root.parent) == cholec80.find(root) == root
    assert cholec80.find(root / "videos") is None
    assert WORKFLOW_DATASETS.get("cholec80").scan is cholec80.scan


def test_shipped_splits() -> None:
    default = load_split("cholec80")
    assert (default.name, len(default.train), len(default.val), len(default.test)) == ("40_8_32", 40, 8, 32)
    assert (default.side_of("video41"), default.side_of("video49")) == ("val", "test")
    halves = load_split("cholec80", "40_40")
    assert (halves.side_of("video40"), halves.side_of("video41"), halves.val) == ("train", "test", ())


@pytest.mark.parametrize(
    ("file", "line", "text", "message"),
    [
        (
            "phase_annotations/video01-phase.txt",
            3,
            "1\tPreperation",
            "row 2 .* has the unknown phase 'Preperation'; known",
        ),
        ("phase_annotations/video01-phase.txt", 3, "x\tPreparation", "row 2 .* has Frame 'x', not a whole number"),
        ("phase_annotations/video01-phase.txt", 3, "0\tPreparation", "row 2 .* is of frame 0, after frame 0"),
        ("phase_annotations/video01-phase.txt", 1, "Frame\tStep", "has no column 'Phase'"),
        ("tool_annotations/video02-tool.txt", 3, "25\t0\t0\t2\t0\t0\t0\t1", "row 2 .* has Hook '2'; it is 0 or 1"),
    ],
)
def test_broken_rows(file: str, line: int, text: str, message: str, root: Path) -> None:
    edit_line(root / file, line, text)
    with pytest.raises(UserError, match=message) as error:
        scan(root)
    assert Path(file).name in str(error.value)


def test_tables_of_another_video(root: Path) -> None:
    file = root / "tool_annotations" / "video01-tool.txt"
    file.write_text(file.read_text() + "75\t0\t0\t0\t0\t0\t0\t0\n")  # one frame too many is known to happen
    assert len(scan(root).videos[0].frames) == 3
    file.write_text(file.read_text() + "100\t0\t0\t0\t0\t0\t0\t0\n")
    with pytest.raises(UserError, match=r"row 4 of '.*video01-tool.txt' is of frame 75, which the phases .* 0 to 60"):
        scan(root)
    write_mp4(root / "videos" / "video01.mp4", 40)
    with pytest.raises(UserError, match=r"'.*video01-tool.txt' is of frame 75"):
        scan(root)


def test_labels_longer_than_the_video(root: Path) -> None:
    write_mp4(root / "videos" / "video02.mp4", 40)
    with pytest.raises(UserError, match=r"row 41 of '.*video02-phase.txt' is of frame 40, but '.*video02.mp4' has 40"):
        scan(root)
    write_mp4(root / "videos" / "video02.mp4", 3, fps=1)
    with pytest.raises(UserError, match=r"video02.mp4' runs at 1 frames/s, its labels count 25"):
        scan(root)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (
            "videos/video01.mp4",
            "'video01' of the split has neither a video such as '.*videos/video01.mp4' nor a folder",
        ),
        (
            "phase_annotations/video01-phase.txt",
            "'video01' of the split has no label file such as '.*video01-phase.txt'",
        ),
        ("tool_annotations/video02-tool.txt", "'video02' of the split has no label file such as '.*video02-tool.txt'"),
    ],
)
def test_missing_files(missing: str, message: str, root: Path) -> None:
    (root / missing).unlink()
    with pytest.raises(UserError, match=message):
        scan(root)


def test_an_empty_table(root: Path) -> None:
    (root / "phase_annotations" / "video01-phase.txt").write_text("Frame\tPhase\n")
    with pytest.raises(UserError, match=r"video01-phase.txt' has no rows"):
        scan(root)


def test_cataracts_is_not_taken_for_it(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "CATARACTS"
    for name in ("phase_annotations", "tool_annotations"):
        (other / name).mkdir(parents=True)
    assert cholec80.find(other) is None

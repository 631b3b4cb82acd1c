from pathlib import Path

import numpy as np
import pytest

from evaluation.datasets import cataract101
from evaluation.datasets.workflow import WORKFLOW_DATASETS, WorkflowDataset, load_split
from tests.evaluation.datasets.layouts import edit_line, split, write_images, write_mp4, write_table
from training.errors import UserError

LENGTH = 80
# Of the first video nothing is said before frame 10; phase 10 comes twice in a row. The second starts with phase 3.
STARTS = [(269, 10, 1), (269, 30, 2), (269, 51, 10), (269, 60, 10), (356, 0, 3), (356, 26, 2), (356, 50, 3)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    home = tmp_path / "cataract-101"
    for case in (269, 356):
        write_mp4(home / "videos" / f"case_{case}.mp4", LENGTH)
    write_table(home / "annotations.csv", ["VideoID", "FrameNo", "Phase"], STARTS, ";")
    sizes = [(269, LENGTH, 25, 4, 1), (356, LENGTH, 25, 2, 2)]
    write_table(home / "videos.csv", ["VideoID", "Frames", "FPS", "Surgeon", "Experience"], sizes, ";")
    return home


def scan(root: Path, fps: float = 25) -> WorkflowDataset:
    return cataract101.scan(root, split(["case_269"], ["case_356"]), fps)


def test_a_phase_holds_until_the_next_and_the_last_to_the_end(root: Path) -> None:
    first, second = scan(root).videos
    assert (first.case_id, first.side, second.side) == ("case_269", "train", "test")
    assert first.frames.tolist() == list(range(10, LENGTH))  # the ones before are left out
    assert first.labels["phase"].tolist() == [0] * 20 + [1] * 21 + [9] * 29
    assert second.labels["phase"].tolist() == [2] * 26 + [1] * 24 + [2] * 30  # a phase can come back


def test_one_frame_a_second(root: Path) -> None:
    first = scan(root, fps=1).videos[0]
    assert (first.frames.tolist(), first.labels["phase"].tolist()) == ([10, 25, 50, 75], [0, 0, 1, 9])
    assert first.seconds.tolist() == [0.4, 1, 2, 3]


def test_the_video_may_be_shorter_than_its_table_says(root: Path) -> None:
    edit_line(root / "videos.csv", 2, "269;83;25;4;1")
    assert scan(root).videos[0].frames[-1] == LENGTH - 1


def test_rows_in_any_order(root: Path) -> None:
    labels = scan(root).videos[0].labels["phase"]
    write_table(root / "annotations.csv", ["VideoID", "FrameNo", "Phase"], reversed(STARTS), ";")
    np.testing.assert_array_equal(scan(root).videos[0].labels["phase"], labels)


def test_frames_instead_of_videos(root: Path) -> None:
    (root / "videos" / "case_269.mp4").unlink()
    write_images(root / "frames" / "case_269", [f"{frame}.jpg" for frame in range(4)])  # at 1 fps
    video = scan(root).videos[0]
    assert (video.frames.tolist(), video.labels["phase"].tolist()) == ([25, 50, 75], [0, 1, 9])
    assert [file.name for file in video.files] == ["1.jpg", "2.jpg", "3.jpg"]


def test_found_and_registered(root: Path) -> None:
    assert cataract101.find(root.parent) == cataract101.find(root) == root
    assert cataract101.find(root / "videos") is None
    assert WORKFLOW_DATASETS.get("cataract101").scan is cataract101.scan
    edit_line(root / "annotations.csv", 1, "case,phase")
    assert cataract101.find(root) is None


def test_shipped_folds_test_every_case_once() -> None:
    folds = [load_split("cataract101", f"fold_{fold}") for fold in range(1, 6)]
    assert load_split("cataract101").name == "fold_1"
    assert [len(fold.test) for fold in folds] == [21, 20, 20, 20, 20]
    assert len({case for fold in folds for case in fold.test}) == 101
    for fold, following in zip(folds, [*folds[1:], folds[0]], strict=True):
        assert fold.val == following.test
        assert len(fold.cases) == len({case for case, _ in fold.cases}) == 101


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("annotations.csv", "269;10;11", "row 1 of '.*annotations.csv' has the phase '11'; known are 1 to 10"),
        ("annotations.csv", "269;x;1", "row 1 of '.*annotations.csv' has a VideoID or FrameNo that is no whole number"),
        ("annotations.csv", "269;30;1", "row 2 of '.*annotations.csv' is the second one of that video and frame 30"),
        ("annotations.csv", "269;80;1", "a phase of case_269 that starts at frame 80, but the video has 80 frames"),
        ("videos.csv", "269;many;25;4;1", "row 1 of '.*videos.csv' has a VideoID, Frames or FPS that is no number"),
        ("videos.csv", "270;80;25;4;1", "case 'case_269' of the split has no row in '.*videos.csv'"),
        ("videos.csv", "269;80;30;4;1", "case_269.mp4' runs at 25 frames/s, its labels count 30"),
    ],
)
def test_broken_rows(file: str, text: str, message: str, root: Path) -> None:
    edit_line(root / file, 2, text)
    with pytest.raises(UserError, match=message):
        scan(root)


def test_missing_parts(root: Path) -> None:
    (root / "videos" / "case_356.mp4").unlink()
    with pytest.raises(UserError, match=r"'case_356' of the split has neither a video such as '.*videos/case_356.mp4'"):
        scan(root)
    write_table(root / "annotations.csv", ["VideoID", "FrameNo", "Phase"], STARTS[4:], ";")
    with pytest.raises(UserError, match=r"case 'case_269' of the split has no row in '.*annotations.csv'"):
        scan(root)
    (root / "videos.csv").unlink()
    with pytest.raises(UserError, match=r"videos.csv' is missing"):
        scan(root)


def test_two_files_of_one_case(root: Path) -> None:
    write_mp4(root / "videos" / "case_269.avi", 2)
    with pytest.raises(UserError, match=r"case_269.avi' and '.*case_269.mp4' are both of case 'case_269'"):
        scan(root)

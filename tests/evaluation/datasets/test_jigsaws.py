from pathlib import Path

import pytest

from evaluation.datasets import jigsaws
from evaluation.datasets.workflow import WORKFLOW_DATASETS, WorkflowDataset, load_split
from tests.evaluation.datasets.layouts import edit_line, split, write_mp4, write_table
from training.errors import UserError

LENGTH = 60
GESTURES = [(4, 20, "G1"), (21, 30, "G5"), (41, 50, "G15")]  # counted from 1; 31 to 40 and both ends are not labeled


def write_trial(task: Path, trial: str) -> None:
    for capture in (1, 2):
        video = write_mp4(task / "video" / f"{trial}.mp4", LENGTH, fps=30)
        video.rename(task / "video" / f"{trial}_capture{capture}.avi")
    write_table(task / "transcriptions" / f"{trial}.txt", [], GESTURES, " ")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    home = tmp_path / "JIGSAWS"
    for trial in ("Suturing_B001", "Suturing_B002", "Suturing_C001"):
        write_trial(home / "Suturing", trial)
    (home / "Suturing" / "video" / "Suturing_C002_capture1.avi").touch()  # has no transcription
    return home


def scan(root: Path, fps: float = 30) -> WorkflowDataset:
    return jigsaws.scan(root, split(["Suturing_B"], ["Suturing_C"]), fps)


def test_trials_of_a_user_are_videos_of_one_case(root: Path) -> None:
    assert [(video.case_id, video.side, video.video.name) for video in scan(root).videos] == [
        ("Suturing_B", "train", "Suturing_B001_capture1.avi"),
        ("Suturing_B", "train", "Suturing_B002_capture1.avi"),
        ("Suturing_C", "test", "Suturing_C001_capture1.avi"),
    ]


def test_frames_count_from_1_and_the_last_one_is_included(root: Path) -> None:
    video = scan(root).videos[0]
    assert video.frames.tolist() == [*range(3, 30), *range(40, 50)]
    assert video.labels["gesture"].tolist() == [0] * 17 + [4] * 10 + [14] * 10


def test_a_lower_rate(root: Path) -> None:
    video = scan(root, fps=3).videos[0]
    assert (video.frames.tolist(), video.labels["gesture"].tolist()) == ([3, 10, 20, 40], [0, 0, 4, 14])


def test_found_and_registered(root: Path) -> None:
    assert jigsaws.find(root.parent) == jigsaws.find(root) == root
    assert jigsaws.find(root / "Suturing") is None
    assert WORKFLOW_DATASETS.get("jigsaws").scan is jigsaws.scan


@pytest.mark.parametrize(("task", "users"), [("suturing", 8), ("knot_tying", 8), ("needle_passing", 7)])
def test_shipped_splits_leave_one_user_out(task: str, users: int) -> None:
    names = "BCDEFHI" if users == 7 else "BCDEFGHI"
    folds = [load_split("jigsaws", f"{task}_{user}") for user in names]
    assert len({case for fold in folds for case in fold.test}) == len(folds) == users
    assert all(len(fold.train) == users - 1 and not fold.val for fold in folds)
    assert load_split("jigsaws").test == ("Suturing_B",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("21 30 G16", "line 2 of '.*Suturing_C001.txt' is '21 30 G16', not first frame, last frame and gesture G1"),
        ("21 G5", "line 2 of '.*Suturing_C001.txt' is '21 G5', not first frame"),
        ("20 30 G5", "line 2 of '.*Suturing_C001.txt' goes from frame 20 to 30, after frame 20"),
        ("30 29 G5", "line 2 of '.*Suturing_C001.txt' goes from frame 30 to 29, after frame 20"),
        ("21 62 G5", "line 2 of '.*Suturing_C001.txt' ends at frame 62, but '.*Suturing_C001_capture1.avi' has 60"),
    ],
)
def test_broken_lines(text: str, message: str, root: Path) -> None:
    edit_line(root / "Suturing" / "transcriptions" / "Suturing_C001.txt", 2, text)
    with pytest.raises(UserError, match=message):
        scan(root)


def test_one_frame_behind_the_end_is_left_out(root: Path) -> None:
    edit_line(root / "Suturing" / "transcriptions" / "Suturing_C001.txt", 3, "41 61 G15")
    assert scan(root).videos[-1].frames[-1] == LENGTH - 1


def test_missing_files(root: Path) -> None:
    task = root / "Suturing"
    (task / "video" / "Suturing_B002_capture1.avi").unlink()
    with pytest.raises(
        UserError, match=r"Suturing_B002.txt' has no video such as '.*video/Suturing_B002_capture1.avi'"
    ):
        scan(root)
    write_trial(task, "Suturing_B002")
    (task / "transcriptions" / "Suturing_B002.txt").write_text("\n")
    with pytest.raises(UserError, match=r"Suturing_B002.txt' has no lines"):
        scan(root)
    (task / "transcriptions" / "Suturing_B002.txt").unlink()
    (task / "transcriptions" / "Suturing_C001.txt").unlink()
    with pytest.raises(UserError, match=r"user 'C' of the split has no transcription such as '.*Suturing_C001.txt'"):
        scan(root)


def test_two_videos_of_one_trial(root: Path) -> None:
    write_mp4(root / "Suturing" / "video" / "Suturing_B001_capture1.mp4", 2)
    with pytest.raises(UserError, match=r"capture1.avi' and '.*capture1.mp4' are both of case 'Suturing_B001'"):
        scan(root)

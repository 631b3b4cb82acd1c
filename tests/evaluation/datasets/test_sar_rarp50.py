from pathlib import Path

import pytest

from evaluation.datasets import sar_rarp50
from evaluation.datasets.workflow import WORKFLOW_DATASETS, WorkflowDataset, load_split
from tests.evaluation.datasets.layouts import edit_line, split, write_images, write_mp4, write_table
from training.errors import UserError

GESTURES = [0] * 5 + [1] * 5 + [7] * 5  # at 10 Hz


def write_case(folder: Path) -> None:
    write_mp4(folder / "video.mp4", 6 * len(GESTURES), fps=60).rename(folder / "video_left.avi")
    write_table(folder / "action_discrete.txt", [], [(6 * row, gesture) for row, gesture in enumerate(GESTURES)], ",")
    (folder / "action_continues.txt").touch()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    home = tmp_path / "rarp"
    for folder in ("train1/video_1", "train2/video_11_1", "train2/video_11_2", "test/video_41"):
        write_case(home / folder)
    return home


def scan(root: Path, fps: float = 10) -> WorkflowDataset:
    return sar_rarp50.scan(root, split(["video_01", "video_11"], ["video_41"]), fps)


def test_gestures_of_every_sixth_frame(root: Path) -> None:
    video = scan(root).videos[0]
    assert (video.case_id, video.side, video.fps) == ("video_01", "train", 60)
    assert video.frames.tolist() == list(range(0, 90, 6))
    assert video.labels["gesture"].tolist() == GESTURES
    assert sar_rarp50.GESTURES[7] == "returning_the_needle"


def test_the_parts_of_a_case_are_videos_of_it(root: Path) -> None:
    videos = scan(root).videos
    assert [(video.case_id, video.side, video.video.parent.name) for video in videos] == [
        ("video_01", "train", "video_1"),
        ("video_11", "train", "video_11_1"),
        ("video_11", "train", "video_11_2"),
        ("video_41", "test", "video_41"),
    ]


def test_predictions_beside_the_data_are_left_alone(root: Path) -> None:
    (root / "test" / "video_41").rename(root / "test" / "video_041")
    write_table(root / "predictions" / "video_41" / "action_discrete.txt", [], [(0, 3)], ",")
    assert [video.video.parent.name for video in scan(root).videos][-1] == "video_041"


def test_a_lower_rate(root: Path) -> None:
    assert scan(root, fps=5).videos[0].frames.tolist() == list(range(0, 90, 12))


def test_the_last_line_may_lie_behind_the_end(root: Path) -> None:
    file = root / "train1" / "video_1" / "action_discrete.txt"
    file.write_text(file.read_text() + "90,0\n")
    assert len(scan(root).videos[0].frames) == 15
    file.write_text(file.read_text() + "96,0\n")
    with pytest.raises(UserError, match=r"row 16 of '.*action_discrete.txt' is of frame 90, but .* has 90 frames"):
        scan(root)


def test_frames_instead_of_the_video(root: Path) -> None:
    folder = root / "train1" / "video_1"
    (folder / "video_left.avi").unlink()
    with pytest.raises(UserError, match=r"train1/video_1' has neither video_left.avi nor a folder rgb of frames"):
        scan(root)
    write_images(folder / "rgb", [f"{frame:09d}.png" for frame in range(0, 90, 6)])
    video = scan(root).videos[0]
    assert (video.files[-1].name, video.labels["gesture"].tolist()) == ("000000084.png", GESTURES)
    (folder / "rgb" / "000000030.png").unlink()
    with pytest.raises(UserError, match=r"frame 30, labeled in '.*action_discrete.txt', has no image in '.*rgb'"):
        scan(root)


def test_found_and_registered(root: Path) -> None:
    assert sar_rarp50.find(root.parent) == sar_rarp50.find(root) == root
    assert sar_rarp50.find(root / "train1" / "video_1") is None
    assert WORKFLOW_DATASETS.get("sar_rarp50").scan is sar_rarp50.scan


def test_shipped_split() -> None:
    official = load_split("sar_rarp50")
    assert (official.name, len(official.train), official.val, len(official.test)) == ("official", 40, (), 10)
    assert (official.side_of("video_40"), official.side_of("video_41")) == ("train", "test")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("6,8", "line 2 of '.*action_discrete.txt' is '6,8', not a frame and a gesture 0 to 7"),
        ("6 1", "line 2 of '.*action_discrete.txt' is '6 1', not a frame and a gesture"),
        ("0,1", "line 2 of '.*action_discrete.txt' is of frame 0, after frame 0"),
    ],
)
def test_broken_lines(text: str, message: str, root: Path) -> None:
    edit_line(root / "test" / "video_41" / "action_discrete.txt", 2, text)
    with pytest.raises(UserError, match=message):
        scan(root)


def test_missing_files(root: Path) -> None:
    (root / "test" / "video_41" / "action_discrete.txt").write_text("")
    with pytest.raises(UserError, match=r"video_41/action_discrete.txt' has no lines"):
        scan(root)
    (root / "test" / "video_41" / "action_discrete.txt").unlink()
    with pytest.raises(UserError, match=r"video_41/action_discrete.txt' is missing"):
        scan(root)
    (root / "test" / "video_41").rename(root / "test" / "video_42")
    with pytest.raises(UserError, match=r"case 'video_41' of the split has no folder such as '.*train1/video_41'"):
        scan(root)


def test_two_folders_of_one_part(root: Path) -> None:
    write_case(root / "test" / "video_01")
    with pytest.raises(UserError, match=r"test/video_01' and '.*train1/video_1' are the same part of one case"):
        scan(root)

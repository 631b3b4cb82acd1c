from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from evaluation.datasets import pitvis
from evaluation.datasets.workflow import WORKFLOW_DATASETS, WorkflowDataset, load_split
from tests.evaluation.datasets.layouts import edit_line, split, write_images, write_mp4, write_table
from training.errors import UserError

HEADER = ["int_video", "int_time", "int_step", "int_instrument1", "int_instrument2"]
LABELS = [(-1, -1, -2), (1, 0, -2), (14, 13, 16), (7, 6, 0), (-1, -1, -2)]  # the last lies behind the end of the video


def write_labels(root: Path, video: int, labels: Sequence[Sequence[int]] = LABELS) -> Path:
    rows = [(video, second, *row) for second, row in enumerate(labels)]
    return write_table(root / f"annotations_{video:02d}.csv", HEADER, rows, ",")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    home = tmp_path / "26531686"
    for video, fps in ((1, 24), (24, 25)):
        write_mp4(home / f"video_{video:02d}.mp4", 4 * fps, fps)
        write_labels(home, video)
    (home / "map_steps.csv").write_text("-1,operation_ended\n-1,out_of_patient\n1,nasal corridor creation \n")
    return home


def scan(root: Path, fps: float = 1) -> WorkflowDataset:
    return pitvis.scan(root, split(["video_01"], ["video_24"]), fps)


def test_steps_keep_their_ids_and_out_of_the_patient_is_0(root: Path) -> None:
    video = scan(root).videos[0]
    assert video.labels["step"].tolist() == [0, 1, 14, 7]
    assert (pitvis.STEPS[7], pitvis.STEPS[14]) == ("tumour_excision", "debris_clearance")


def test_instruments_are_two_columns(root: Path) -> None:
    instrument = scan(root).videos[0].labels["instrument"]
    assert [np.flatnonzero(row).tolist() for row in instrument] == [[], [0], [13, 16], [0, 6]]
    assert (pitvis.INSTRUMENTS[13], pitvis.INSTRUMENTS[16]) == ("ring_curette", "suction")


def test_rows_are_seconds_at_the_rate_of_each_video(root: Path) -> None:
    first, other = scan(root).videos
    assert (first.fps, first.frames.tolist()) == (24, [0, 24, 48, 72])
    assert (other.fps, other.frames.tolist()) == (25, [0, 25, 50, 75])
    assert first.seconds.tolist() == other.seconds.tolist() == [0, 1, 2, 3]


def test_a_second_row_behind_the_end_is_a_mismatch(root: Path) -> None:
    write_labels(root, 24, [*LABELS, (-1, -1, -2)])
    with pytest.raises(
        UserError, match=r"row 5 of '.*annotations_24.csv' is of frame 100, but '.*video_24.mp4' has 100"
    ):
        scan(root)


def test_frames_instead_of_videos(root: Path) -> None:
    for case in ("video_01", "video_24"):
        (root / f"{case}.mp4").unlink()
        write_images(root / case, [f"{frame:05d}.png" for frame in range(4)])
    first, other = scan(root).videos
    assert [file.name for file in first.files] == ["00000.png", "00001.png", "00002.png", "00003.png"]
    assert (first.frames.tolist(), other.frames.tolist()) == ([0, 24, 48, 72], [0, 25, 50, 75])
    assert first.labels["step"].tolist() == [0, 1, 14, 7]


def test_found_and_registered(root: Path) -> None:
    assert pitvis.find(root.parent) == pitvis.find(root) == root
    (root.parent / "other").mkdir()
    assert pitvis.find(root.parent / "other") is None
    assert WORKFLOW_DATASETS.get("pitvis").scan is pitvis.scan


def test_shipped_splits() -> None:
    suggested, pitvqa = load_split("pitvis"), load_split("pitvis", "pitvqa")
    assert (suggested.name, len(suggested.train), len(suggested.test)) == ("suggested", 19, 5)
    assert pitvqa.test == ("video_02", "video_06", "video_12", "video_13", "video_24")
    assert suggested.side_of("video_19") is pitvqa.side_of("video_19") is None  # not annotated


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,1,0,0,-2", "row 2 of '.*annotations_01.csv' has int_step '0'; known are -1, 1, 2"),
        ("1,1,15,0,-2", "row 2 of '.*annotations_01.csv' has int_step '15'"),
        ("1,1,1,-2,-2", "row 2 of '.*annotations_01.csv' has int_instrument1 '-2'; known are -1, 0, 1"),
        ("1,1,1,0,19", "row 2 of '.*annotations_01.csv' has int_instrument2 '19'; known are -2, -1, 0"),
        ("2,1,1,0,-2", "row 2 of '.*annotations_01.csv' is of video '2', not of video_01"),
        ("1,0,1,0,-2", "row 2 of '.*annotations_01.csv' has int_time '0', not a later whole second"),
        ("1,1.5,1,0,-2", "row 2 of '.*annotations_01.csv' has int_time '1.5', not a later whole second"),
    ],
)
def test_broken_rows(text: str, message: str, root: Path) -> None:
    edit_line(root / "annotations_01.csv", 3, text)
    with pytest.raises(UserError, match=message):
        scan(root)


def test_missing_files(root: Path) -> None:
    (root / "annotations_24.csv").write_text(",".join(HEADER) + "\n")
    with pytest.raises(UserError, match=r"annotations_24.csv' has no rows"):
        scan(root)
    (root / "annotations_24.csv").unlink()
    with pytest.raises(
        UserError, match=r"case 'video_24' of the split has no label file such as '.*annotations_24.csv'"
    ):
        scan(root)
    (root / "video_01.mp4").unlink()
    with pytest.raises(UserError, match=r"case 'video_01' of the split has neither a video such as '.*video_01.mp4'"):
        scan(root)


def test_two_files_of_one_case(root: Path) -> None:
    write_table(root / "annotations_1.csv", HEADER, [])
    with pytest.raises(UserError, match=r"annotations_01.csv' and '.*annotations_1.csv' are both of case 'video_01'"):
        scan(root)

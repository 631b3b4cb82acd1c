import os
from pathlib import Path

import pytest

from evaluation.datasets import FrameReference, autolaparo_motion
from evaluation.datasets.samples import SAMPLE_DATASETS, SampleDataset
from evaluation.datasets.workflow import load_split
from evaluation.frames import decode
from tests.evaluation.datasets.layouts import edit_line, split, write_mp4, write_table
from training.errors import UserError

REALDATA = os.environ.get("ZEN_REALDATA", "")
TASK = "Task 2 Laparoscope motion prediction"
LABELS = "laparoscope_motion_label.txt"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "AutoLaparo"
    for clip in ("001", "171", "228"):
        write_mp4(root / TASK / "clips" / f"{clip}.mp4", 130)
    write_table(root / TASK / LABELS, ["Clip", "Label", "Phase"], [("001", 0, 2), ("171", 5, 3), ("228", 6, 4)])
    (root / "Task 1 Surgical workflow recognition").mkdir()
    return root


def scan(root: Path) -> SampleDataset:
    return autolaparo_motion.scan(root, split(["001"], ["228"], ["171"]))


def test_frames_of_the_first_half_of_a_clip(root: Path) -> None:
    samples = scan(root).samples
    assert [(sample.case_id, sample.side, sample.label) for sample in samples] == [
        ("001", "train", 0),
        ("171", "val", 5),
        ("228", "test", 6),
    ]
    assert len(samples[0].frames) == 16
    assert {frame.path.name for frame in samples[0].frames} == {"001.mp4"}
    numbers = [frame.frame_index for frame in samples[0].frames]
    assert (numbers[0], numbers[1], numbers[-1]) == (0, 8, 124)  # counted from 1: 1, 9, ..., 125
    assert len(list(decode(samples[0].frames, 16))) == 16


def test_the_split_is_the_official_one_by_default(root: Path) -> None:
    official = load_split("autolaparo_motion")
    assert [len(side) for side in (official.train, official.val, official.test)] == [170, 57, 73]
    assert (official.side_of("170"), official.side_of("171"), official.side_of("228")) == ("train", "val", "test")
    with pytest.raises(UserError, match=r"clip '002' of the split has no row in '.*laparoscope_motion_label.txt'"):
        autolaparo_motion.scan(root, None)


@pytest.mark.parametrize("name", ["task2", "Task_2", "."])
def test_found_under_shortened_names(name: str, root: Path) -> None:
    if name == ".":
        for child in list((root / TASK).iterdir()):
            child.rename(root / child.name)
    else:
        (root / TASK).rename(root / name)
    assert autolaparo_motion.find(root.parent) == root
    assert len(scan(root).samples) == 3
    assert SAMPLE_DATASETS.get("autolaparo_motion").scan is autolaparo_motion.scan


def test_task_20_is_another_and_two_are_too_many(root: Path) -> None:
    (root / TASK).rename(root / "Task 20")
    with pytest.raises(UserError, match=r"has no folder 'Task 2 ...' with laparoscope_motion_label.txt in it"):
        scan(root)
    for name in ("Task 2", "task2"):
        write_table(root / name / LABELS, ["Clip", "Label", "Phase"], [])
    with pytest.raises(UserError, match=r"Task 2' and '.*task2' both look like task 2; one of them is expected"):
        scan(root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("171\t7\t3", r"row 2 of '.*label.txt' has Label '7'; known are 0 to 6"),
        ("171.mp4\t5\t3", r"row 2 of '.*label.txt' has Clip '171.mp4', not a whole number"),
        ("1\t5\t3", r"row 2 of '.*label.txt' is the second one of clip '001'"),
        ("171\t5", r"line 3 of '.*label.txt' has 2 cells, the header 3"),
    ],
)
def test_broken_rows(text: str, message: str, root: Path) -> None:
    edit_line(root / TASK / LABELS, 3, text)
    with pytest.raises(UserError, match=message):
        scan(root)


def test_clips_that_do_not_fit(root: Path) -> None:
    clip = root / TASK / "clips" / "228.mp4"
    write_mp4(clip, 124)
    with pytest.raises(UserError, match=r"228.mp4' has 124 frames; the first 125 are needed"):
        scan(root)
    write_mp4(clip, 125)
    assert scan(root).samples[-1].frames[-1] == FrameReference(clip, 124)
    write_mp4(clip, 130, fps=30)
    with pytest.raises(UserError, match=r"228.mp4' runs at 30 frames/s, its labels count 25"):
        scan(root)
    write_mp4(clip.with_name("0228.mp4"), 2)
    with pytest.raises(UserError, match=r"0228.mp4' and '.*228.mp4' are both of case '228'"):
        scan(root)
    clip.with_name("0228.mp4").unlink()
    clip.unlink()
    with pytest.raises(UserError, match=r"clip '228' of the split has no video such as '.*clips/228.mp4'"):
        scan(root)


@pytest.mark.realdata
@pytest.mark.skipif(not REALDATA, reason="AutoLaparo: ZEN_REALDATA is not set")
def test_genuine_clips(tmp_path: Path) -> None:
    home = tmp_path / "task2"
    (home / "clips").mkdir(parents=True)
    for number, name in ((1, "Up-1_2.mp4"), (228, "Zoomin_2.mp4")):
        (home / "clips" / f"{number:03d}.mp4").symlink_to(Path(REALDATA) / "autolaparo-motion-clips" / name)
    write_table(home / LABELS, ["Clip", "Label", "Phase"], [("001", 1, 2), ("228", 5, 2)])
    samples = autolaparo_motion.scan(tmp_path, split(["001"], ["228"])).samples
    assert [sample.label for sample in samples] == [1, 5]
    pixels = list(decode(samples[1].frames, 32))
    assert len(pixels) == 16
    assert all(image.std() > 10 for image in pixels)

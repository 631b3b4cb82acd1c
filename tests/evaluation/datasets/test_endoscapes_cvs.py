import csv
import shutil
from pathlib import Path

import pytest

from evaluation.datasets import endoscapes_cvs
from evaluation.datasets.samples import SAMPLE_DATASETS, SampleDataset
from evaluation.datasets.workflow import load_split
from tests.evaluation.datasets.layouts import edit_line, split, write_images
from training.errors import UserError

HEADER = [
    "vid",
    "frame",
    "avg_cvs",
    "C1",
    "C2",
    "C3",
    "is_ds_keyframe",
    "cvs_annotator_1",
    "cvs_annotator_2",
    "cvs_annotator_3",
    "mask_path",
    "label_path",
]
SIDES = {"train": (1, 2), "val": (121,), "test": (162,)}
RATERS = ("[0, 1, 1]", "[1, 0, 1]", "[0, 0, 1]")  # means 1/3, 1/3 and 1


def row(video: int, frame: int, raters: tuple[str, ...] = (), means: tuple[float, ...] = (0, 0, 0)) -> list[object]:
    marks = raters or ("", "", "")
    return [video, frame, str(list(means)), *means, bool(raters), *marks, "", ""]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Six frames of each video at 1 fps; the first and the last are rated."""
    root = tmp_path / "endoscapes"
    rows = []
    for side, videos in SIDES.items():
        frames = range(14775, 14775 + 6 * 25, 25)
        write_images(root / side, [f"{video}_{frame}.jpg" for video in videos for frame in frames])
        (root / f"{side}_vids.txt").write_text("".join(f"{video:.18e}\n" for video in videos))
        for video in videos:
            rows += [row(video, frame, means=(1 / 3, 1 / 3, 1)) for frame in frames]  # carried on where not rated
            rows[-6] = row(video, frames[0], RATERS, (1 / 3, 1 / 3, 1))
            rows[-1] = row(video, frames[-1], ("[1, 0, 0]", "[1, 0, 1]", "[0, 0, 0]"), (2 / 3, 0, 1 / 3))
    with (root / "all_metadata.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([HEADER, *rows])
    return root


def scan(root: Path) -> SampleDataset:
    return endoscapes_cvs.scan(root, split(["1", "2"], ["162"], ["121"]))


def test_rated_frames_and_no_others(root: Path) -> None:
    dataset = scan(root)
    assert dataset.target.classes == ("C1", "C2", "C3")
    assert [(s.case_id, s.side, s.frames[0].path.name) for s in dataset.samples] == [
        ("1", "train", "1_14775.jpg"),
        ("1", "train", "1_14900.jpg"),
        ("2", "train", "2_14775.jpg"),
        ("2", "train", "2_14900.jpg"),
        ("121", "val", "121_14775.jpg"),
        ("121", "val", "121_14900.jpg"),
        ("162", "test", "162_14775.jpg"),
        ("162", "test", "162_14900.jpg"),
    ]
    assert dataset.samples[-1].frames[0].path.parent == root / "test"
    assert dataset.samples[-1].frames[0].frame_index is None
    assert [sample.label for sample in dataset.samples[:2]] == [(0, 0, 1), (1, 0, 0)]


def test_frames_are_in_numeric_order(root: Path) -> None:
    edit_line(root / "all_metadata.csv", 3, '1,5000,x,0,0,0,True,"[0,0,0]","[0, 0, 0]","[0.0, 0.0, 0.0]",,')
    write_images(root / "train", ["1_5000.jpg"])
    names = [sample.frames[0].path.name for sample in scan(root).samples[:3]]
    assert names == ["1_5000.jpg", "1_14775.jpg", "1_14900.jpg"]


def test_found_and_registered(root: Path) -> None:
    assert endoscapes_cvs.find(root.parent) == endoscapes_cvs.find(root) == root
    assert endoscapes_cvs.find(root / "train") is None
    assert SAMPLE_DATASETS.get("endoscapes_cvs").scan is endoscapes_cvs.scan


def test_the_official_split_is_by_patient_and_that_of_the_lists(root: Path) -> None:
    official = load_split("endoscapes_cvs")
    assert [len(side) for side in (official.train, official.val, official.test)] == [120, 41, 40]
    assert [official.side_of(video) for video in ("120", "121", "161", "162")] == ["train", "val", "val", "test"]
    with pytest.raises(UserError, match=r"video 3 of the train side of split 'official' is in none of the lists"):
        endoscapes_cvs.scan(root, None)
    with (root / "val_vids.txt").open("a") as stream:
        stream.write("3\n")
    with pytest.raises(UserError, match=r"video 3 of the train side of split 'official' is in '.*val_vids.txt'"):
        endoscapes_cvs.scan(root, None)


@pytest.mark.parametrize("missing", ["val_vids.txt", "test", "train/2_14900.jpg"])
def test_the_first_missing_path_is_named(missing: str, root: Path) -> None:
    path = root / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(UserError, match=f"'.*{missing}' is missing; the dataset is incomplete"):
        scan(root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('1,14775,x,0.33,0.33,1,True,"[0, 1, 1]","[1, 0, 1]",,,', "row 1 of '.*' is of a rated frame, but lacks three"),
        ('1,14775,x,0.33,0.33,1,True,"[0, 2, 1]","[1, 0, 1]","[0, 0, 1]",,', "row 1 of '.*' is of a rated frame"),
        ('1,14775,x,1,0.33,1,True,"[0, 1, 1]","[1, 0, 1]","[0, 0, 1]",,', "C1, C2, C3 = 1, 0.33, 1, which are not the"),
        ('1,14775,x,a,0,1,True,"[0, 1, 1]","[1, 0, 1]","[0, 0, 1]",,', "row 1 of '.*' has a C1, C2 or C3 that is no"),
        ('1,x,x,0,0,1,True,"[0, 1, 1]","[1, 0, 1]","[0, 0, 1]",,', "row 1 of '.*' has a vid or frame that is no whole"),
        ("1,14775,x,0,0,1,maybe,,,,,", "row 1 of '.*' has is_ds_keyframe 'maybe'; it is True or False"),
        ("1,14775,x,0", "row 1 of '.*' has not the 12 cells of its header"),
        (
            '1,14900,x,0,0,0,1,"[0,0,0]","[0,0,0]","[0,0,0]",,',
            "row 6 of '.*' is the second one of video 1, frame 14900",
        ),
    ],
)
def test_broken_rows(text: str, message: str, root: Path) -> None:
    edit_line(root / "all_metadata.csv", 2, text)
    with pytest.raises(UserError, match=message):
        scan(root)


def test_broken_files(root: Path) -> None:
    table = root / "all_metadata.csv"
    edit_line(root / "val_vids.txt", 1, "video121")
    with pytest.raises(UserError, match=r"line 1 of '.*val_vids.txt' is 'video121', not the number of a video"):
        scan(root)
    edit_line(root / "val_vids.txt", 1, "1\n\n1.21e+02")
    with pytest.raises(UserError, match=r"video 1 is in '.*train_vids.txt' and in '.*val_vids.txt'"):
        scan(root)
    edit_line(root / "val_vids.txt", 1, None)
    table.write_text(table.read_text().replace("162,14775", "161,14775").replace("162,14900", "161,14900"))
    with pytest.raises(UserError, match=r"video 162 of the split has no rated frame in '.*all_metadata.csv'"):
        scan(root)
    edit_line(table, 1, ",".join(HEADER).replace("is_ds_keyframe", "keyframe"))
    with pytest.raises(
        UserError, match=r"all_metadata.csv' has no column 'is_ds_keyframe'; its columns are vid, frame"
    ):
        scan(root)
    table.write_bytes(b"vid\xff\n")
    with pytest.raises(UserError, match=r"all_metadata.csv' cannot be read as a table"):
        scan(root)

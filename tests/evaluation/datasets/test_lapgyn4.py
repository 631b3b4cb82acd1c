from pathlib import Path

import pytest

from evaluation.datasets import lapgyn4
from evaluation.datasets.hash_folds import fold_of
from evaluation.datasets.samples import SAMPLE_DATASETS
from tests.evaluation.datasets.layouts import split, write_images
from training.errors import UserError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ten operations; the first has two actions."""
    root = tmp_path / "LapGyn4_v1.2"
    for label, action in enumerate(lapgyn4.ACTIONS):
        write_images(root / "Surgical_Actions" / action, [f"c_{label + 1}_v_5_f_{frame}.jpg" for frame in (2, 10)])
    write_images(root / "Surgical_Actions" / "Suturing", ["c_1_v_5_f_3.jpg", "c_9_v_1_f_1.jpg", "c_10_v_1_f_1.jpg"])
    write_images(root / "Instrument_Count" / "0", ["31.jpg"])
    return root


def test_images_in_order_of_operation_and_time(root: Path) -> None:
    dataset = lapgyn4.scan(root)
    assert [(s.case_id, s.frames[0].path.name, s.label) for s in dataset.samples][:5] == [
        ("c_1", "c_1_v_5_f_2.jpg", 0),
        ("c_1", "c_1_v_5_f_3.jpg", 7),
        ("c_1", "c_1_v_5_f_10.jpg", 0),
        ("c_2", "c_2_v_5_f_2.jpg", 1),
        ("c_2", "c_2_v_5_f_10.jpg", 1),
    ]
    assert len(dataset.samples) == 2 * 8 + 3
    assert all(s.frames[0].frame_index is None for s in dataset.samples)


def test_the_default_is_our_first_fold_by_operation(root: Path) -> None:
    dataset = lapgyn4.scan(root)
    assert dataset.split == "fold_1"
    sides = {1: "test", 2: "val", 3: "train", 4: "train", 5: "train"}
    assert all(s.side == sides[fold_of("lapgyn4", s.case_id)] for s in dataset.samples)
    other = lapgyn4.scan(root, lapgyn4.fold_split(root, 2))
    assert {s.case_id for s in other.samples if s.side == "test"} == {
        s.case_id for s in dataset.samples if s.side == "val"
    }


def test_only_the_cases_of_a_split(root: Path) -> None:
    dataset = lapgyn4.scan(root, split(["c_1"], ["c_9"]))
    assert [(s.case_id, s.side) for s in dataset.samples] == [("c_1", "train")] * 3 + [("c_9", "test")]


def test_found_and_registered(root: Path) -> None:
    assert lapgyn4.find(root.parent) == lapgyn4.find(root) == root
    assert lapgyn4.find(root / "Instrument_Count") is None
    assert SAMPLE_DATASETS.get("lapgyn4").scan is lapgyn4.scan


def test_broken_folders(root: Path) -> None:
    folder = root / "Surgical_Actions"
    with pytest.raises(UserError, match=r"case 'c_77' of the split has no image in '.*Surgical_Actions'"):
        lapgyn4.scan(root, split(["c_77"], ["c_9"]))
    write_images(folder / "Injection", ["frame_1.jpg"])
    with pytest.raises(UserError, match=r"'.*Injection/frame_1.jpg' is not named c_CASE_v_VIDEO_f_FRAME"):
        lapgyn4.scan(root)
    (folder / "Injection" / "frame_1.jpg").unlink()
    (folder / "Knotting").mkdir()
    with pytest.raises(UserError, match=r"folder '.*Knotting' is no class; known are Coagulation, .*Suturing"):
        lapgyn4.scan(root)
    (folder / "Knotting").rmdir()
    for image in (folder / "Injection").iterdir():
        image.unlink()
    with pytest.raises(UserError, match=r"folder '.*Injection' holds no images"):
        lapgyn4.scan(root)
    (folder / "Injection").rmdir()
    with pytest.raises(UserError, match=r"'.*Surgical_Actions/Injection' is missing"):
        lapgyn4.scan(root)

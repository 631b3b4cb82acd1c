import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evaluation.datasets import endoscapes
from evaluation.datasets.endoscapes import cvs_labels
from training.errors import UserError


def edit(root: Path, folder: str, change: Any) -> None:
    file = root / folder / "annotations.json"
    entries = json.loads(file.read_text())
    change(entries)
    file.write_text(json.dumps(entries))


def test_records(endoscapes_folder: Path) -> None:
    dataset = endoscapes.scan(endoscapes_folder)
    sides = {side: {r.case_id for r in dataset.records if r.split == side} for side in ("train", "test")}
    assert sides == {"train": {"1", "2", "3", "4"}, "test": {"10", "11"}}
    assert "val of official split" in dataset.split_source
    first = dataset.records[0]
    assert first.frame.path == endoscapes_folder / "train" / "images" / "1_750.jpg"
    assert first.frame.frame_index is None
    assert first.mask == endoscapes_folder / "train" / "masks" / "1_750.png"
    # the frame shows liver and a hook, which the fixture calls gallbladder (5) and cystic duct (4)
    assert dict(zip(dataset.presence_names, first.presence, strict=True)) == {
        "cystic_plate": False,
        "calot_triangle": False,
        "cystic_artery": False,
        "cystic_duct": True,
        "gallbladder": True,
        "tool": False,
    }
    assert first.cvs == (2 / 3, 1 / 3, 0.0)
    assert cvs_labels(first) == (True, False, False)


def test_frames_are_in_numeric_order(endoscapes_folder: Path) -> None:
    stems = [record.frame.path.stem for record in endoscapes.scan(endoscapes_folder).records]
    assert stems[:4] == ["1_750", "1_1500", "1_2250", "2_750"]


def test_values_above_six_are_ignored(endoscapes_folder: Path) -> None:
    dataset = endoscapes.scan(endoscapes_folder)
    assert dataset.records[0].mask is not None
    mask = endoscapes.read_mask(dataset.records[0].mask, len(dataset.mask_classes), dataset.mask_ignore)
    assert set(np.unique(mask)) == {0, 4, 5, 255}
    assert (mask[1, :3] == 255).all()


def test_the_test_folder_comes_before_val(fresh_endoscapes: Path) -> None:
    shutil.copytree(fresh_endoscapes / "val", fresh_endoscapes / "test")
    dataset = endoscapes.scan(fresh_endoscapes)
    assert "test of official split" in dataset.split_source
    assert all("/val/" not in record.frame.path.as_posix() for record in dataset.records)


def test_fingerprint_follows_labels_not_place(endoscapes_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(endoscapes_folder, tmp_path / "elsewhere")
    assert endoscapes.scan(copy).fingerprint() == endoscapes.scan(endoscapes_folder).fingerprint()
    edit(copy, "val", lambda entries: entries["10_750"]["annotations"][0].update(ds=[1, 1, 1]))
    assert endoscapes.scan(copy).fingerprint() != endoscapes.scan(endoscapes_folder).fingerprint()


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_found_up_to_two_levels_below(endoscapes_folder: Path, tmp_path: Path, depth: int) -> None:
    home = tmp_path.joinpath(*["deeper"] * depth)
    home.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(endoscapes_folder, home, dirs_exist_ok=True)
    assert endoscapes.find(tmp_path) == home


def test_not_found(synthetic_folder: Path, tmp_path: Path) -> None:
    assert endoscapes.find(synthetic_folder) is None
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "annotations.json").write_text('{"images": [], "categories": []}')
    assert endoscapes.find(tmp_path) is None


def test_two_on_one_level(endoscapes_folder: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        shutil.copytree(endoscapes_folder, tmp_path / name)
    with pytest.raises(UserError, match=r"two Endoscapes datasets lie below .*a' and .*b'; give the folder of one"):
        endoscapes.find(tmp_path)


@pytest.mark.parametrize("missing", ["val/annotations.json", "val/images", "train/masks", "train/masks/2_1500.png"])
def test_the_first_missing_path_is_named(fresh_endoscapes: Path, missing: str) -> None:
    path = fresh_endoscapes / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(UserError, match=f"endoscapes: '.*{missing}' is missing; the dataset is incomplete"):
        endoscapes.scan(fresh_endoscapes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.pop("1_750"), r"image '.*train/images/1_750.jpg' has no entry in '.*annotations.json'"),
        (lambda e: e.update(oops=e.pop("1_750")), r"image '.*1_750.jpg' has no entry"),
        (lambda e: e.update(oops={}), "key 'oops' in '.*' is not of the form VIDEO_FRAME"),
        (lambda e: e["1_750"].update(annotations=[]), r"entry '1_750' in '.*' lacks annotations\[0\]"),
        (lambda e: e["1_750"]["annotations"][0].pop("ds"), "entry '1_750' in '.*' lacks"),
        (lambda e: e["1_750"]["annotations"][0].update(ds=[0, 1]), r"entry '1_750' in '.*' has ds=\[0.0, 1.0\]"),
        (lambda e: e["1_750"]["annotations"][0].update(ds=[0, 1, 2]), r"three numbers in \[0, 1\] are expected"),
        (lambda e: e["1_750"]["annotations"][0].update(video_id=3), "says video_id 3, its name says 1"),
    ],
)
def test_broken_entries(fresh_endoscapes: Path, change: Any, message: str) -> None:
    edit(fresh_endoscapes, "train", change)
    with pytest.raises(UserError, match=message):
        endoscapes.scan(fresh_endoscapes)


def test_broken_json(fresh_endoscapes: Path) -> None:
    file = fresh_endoscapes / "val" / "annotations.json"
    file.write_text(file.read_text()[:-10])
    with pytest.raises(UserError, match=r"'.*val/annotations.json' is not valid JSON"):
        endoscapes.scan(fresh_endoscapes)
    file.write_text("[]")
    with pytest.raises(UserError, match="holds a list where a JSON object is expected"):
        endoscapes.scan(fresh_endoscapes)


def test_a_case_on_both_sides(fresh_endoscapes: Path) -> None:
    for kind, suffix in (("images", "jpg"), ("masks", "png")):
        for folder in ("train", "val"):
            source = fresh_endoscapes / folder / kind / f"{'1' if folder == 'train' else '10'}_750.{suffix}"
            shutil.copy(source, fresh_endoscapes / "val" / kind / f"1_9000.{suffix}")
    scores = {"annotations": [{"video_id": 1, "ds": [0, 0, 0]}]}
    edit(fresh_endoscapes, "val", lambda entries: entries.update({"1_9000": scores}))
    with pytest.raises(UserError, match="case '1' is on both sides of the split"):
        endoscapes.scan(fresh_endoscapes)


def test_mask_of_another_size(fresh_endoscapes: Path) -> None:
    Image.fromarray(np.zeros((10, 10), dtype=np.uint8)).save(fresh_endoscapes / "train" / "masks" / "1_750.png")
    with pytest.raises(UserError, match=r"mask '.*1_750.png' is \(10, 10\), its image \(48, 64\)"):
        endoscapes.scan(fresh_endoscapes)


@pytest.mark.parametrize("kind", ["images/1_750.jpg", "masks/1_750.png"])
def test_unreadable_files(fresh_endoscapes: Path, kind: str) -> None:
    (fresh_endoscapes / "train" / kind).write_bytes(b"no image")
    with pytest.raises(UserError, match=f"'.*{kind}' cannot be read"):
        endoscapes.scan(fresh_endoscapes)

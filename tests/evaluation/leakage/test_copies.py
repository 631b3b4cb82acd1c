import shutil
from pathlib import Path

import pytest
from PIL import Image

from evaluation.leakage.copies import identical_files
from tests.evaluation.leakage.folders import cases_of, draw


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, name in enumerate(("a", "b", "c")):
        Image.fromarray(draw(number)).save(tmp_path / f"{name}.png")
    shutil.copy(tmp_path / "a.png", tmp_path / "copy.png")
    return tmp_path


def test_copies_across_sides_by_pair_of_cases(root: Path) -> None:
    dataset = cases_of("tiny", root, ("one", "train", "a.png"), ("two", "test", "copy.png"), ("three", "test", "b.png"))
    (finding,) = identical_files(dataset)
    assert (finding.kind, finding.message) == ("identical files", "train case 'one' and test case 'two'")
    assert finding.pairs == (("a.png", "copy.png"),)
    assert str(finding) == (
        "identical files: tiny: train case 'one' and test case 'two': 'a.png' = 'copy.png'"
    )  # fmt: skip


def test_copies_on_one_side_are_no_leak(root: Path) -> None:
    dataset = cases_of("tiny", root, ("one", "train", "a.png"), ("two", "train", "copy.png"), ("x", "test", "b.png"))
    assert identical_files(dataset) == []


def test_files_of_one_size_with_other_bytes(root: Path) -> None:
    (root / "d").write_bytes(b"ab")
    (root / "e").write_bytes(b"ba")
    assert identical_files(cases_of("tiny", root, ("one", "train", "d"), ("two", "test", "e"))) == []


def test_blank_images_are_no_copies_but_broken_ones_are(root: Path) -> None:
    for name in ("black1.png", "black2.png"):
        Image.new("RGB", (8, 8)).save(root / name)
    assert identical_files(cases_of("t", root, ("one", "train", "black1.png"), ("two", "test", "black2.png"))) == []
    for name in ("broken1.png", "broken2.png"):
        (root / name).write_bytes(b"no image")
    assert len(identical_files(cases_of("t", root, ("1", "train", "broken1.png"), ("2", "test", "broken2.png")))) == 1


def test_a_validation_side_that_is_the_test_side(root: Path) -> None:
    dataset = cases_of("tiny", root, ("one", "train", "b.png"), ("two", "val", "a.png"), ("three", "test", "copy.png"))
    (finding,) = identical_files(dataset)
    assert (finding.kind, finding.pairs) == ("val equals test", (("a.png", "copy.png"),))
    more = cases_of(
        "tiny", root, ("1", "train", "b.png"), ("2", "val", "a.png"), ("3", "test", "copy.png"), ("4", "test", "c.png")
    )
    assert [finding.kind for finding in identical_files(more)] == ["identical files"]

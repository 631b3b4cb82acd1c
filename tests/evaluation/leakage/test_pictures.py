from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation.datasets.dataset import FrameReference
from evaluation.leakage.cases import Case, Cases
from evaluation.leakage.pictures import near_duplicates, read_pictures
from tests.evaluation.leakage.folders import cases_of, draw
from training.errors import UserError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, name in enumerate(("a", "b", "c")):
        Image.fromarray(draw(number)).save(tmp_path / f"{name}.png")
    Image.fromarray(draw(0)).resize((64, 64)).save(tmp_path / "worse.jpg", quality=60)
    return tmp_path


def test_a_smaller_and_coarser_copy_is_found(root: Path) -> None:
    dataset = cases_of(
        "tiny",
        root,
        ("1", "train", "a.png"),
        ("2", "train", "b.png"),
        ("3", "val", "c.png"),
        ("4", "test", "worse.jpg"),
    )
    (finding,) = near_duplicates(dataset)
    assert (finding.kind, finding.message) == ("near-duplicate frames", "train case '1' and test case '4'")
    assert finding.pairs == (("a.png", "worse.jpg"),)


def test_several_frames_of_one_pair_of_cases_are_one_finding(root: Path) -> None:
    def case(name: str, side: str, *files: str) -> Case:
        return Case(name, side, tuple(FrameReference(root / file) for file in files))  # type: ignore[arg-type]

    Image.fromarray(draw(1)).save(root / "again.jpg", quality=80)
    dataset = Cases(
        "tiny", root, "s", (case("1", "val", "a.png", "b.png"), case("2", "test", "worse.jpg", "again.jpg"))
    )
    (finding,) = near_duplicates(dataset)
    assert finding.pairs == (("a.png", "worse.jpg"), ("b.png", "again.jpg"))


def test_black_and_white_frames_are_not_compared(root: Path) -> None:
    for name, level in (("black1", 3), ("black2", 4), ("white1", 255), ("white2", 254)):
        Image.fromarray(np.full((64, 64, 3), level, np.uint8)).save(root / f"{name}.png")
    dataset = cases_of(
        "tiny",
        root,
        ("1", "train", "black1.png"),
        ("2", "test", "black2.png"),
        ("3", "train", "white1.png"),
        ("4", "test", "white2.png"),
        ("5", "test", "a.png"),
    )
    assert near_duplicates(dataset) == []
    pictures = read_pictures(dataset, "test")
    assert (pictures.cases, pictures.thumbnails.shape) == (["5"], (1, 32, 32))


def test_a_frame_that_cannot_be_decoded(root: Path) -> None:
    (root / "a.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"image '.*a.png' cannot be decoded"):
        near_duplicates(cases_of("tiny", root, ("1", "train", "a.png"), ("2", "test", "b.png")))

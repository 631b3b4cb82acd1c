from pathlib import Path

import pytest

from evaluation.datasets import hyperkvasir
from evaluation.datasets.samples import SAMPLE_DATASETS
from tests.evaluation.datasets.layouts import edit_line, split, write_images, write_table
from training.errors import UserError

ROWS = [  # file, class as the table spells it, index, folder
    ("a.jpg", "polyp", 0, "lower-gi-tract/pathological-findings/polyps"),
    ("b.jpg", "polyp", 1, "lower-gi-tract/pathological-findings/polyps"),
    ("c.jpg", "hemorroids", 0, "lower-gi-tract/pathological-findings/hemorrhoids"),
    ("d.jpg", "normal-z-line", 1, "upper-gi-tract/anatomical-landmarks/z-line"),
    ("e.jpg", "short-segment-barretts", 1, "upper-gi-tract/pathological-findings/barretts-short-segment"),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "hyper-kvasir"
    for name, _, _, folder in ROWS:
        write_images(root / "labeled-images" / folder, [name])
    header = ["file-name", "class-name", "split-index"]
    write_table(root / "official_splits" / "2_fold_split.csv", header, [row[:3] for row in ROWS], ";")
    return root


def labels(dataset) -> list[tuple[str, str, str]]:
    return [(s.case_id, s.side, hyperkvasir.CLASSES[s.label]) for s in dataset.samples]


def test_the_official_folds(root: Path) -> None:
    first = hyperkvasir.scan(root)
    assert labels(first) == [
        ("a", "train", "polyps"),
        ("b", "test", "polyps"),
        ("c", "train", "hemorrhoids"),
        ("d", "test", "z-line"),
        ("e", "test", "barretts-short-segment"),
    ]
    assert (first.split, len(hyperkvasir.CLASSES)) == ("fold_1", 23)
    second = hyperkvasir.scan(root, hyperkvasir.fold_split(root, 2))
    assert [s.side for s in second.samples] == ["test", "train", "test", "train", "train"]
    assert second.split_source.endswith("split-index 1 for training, 0 for testing")
    with pytest.raises(UserError, match="has the official folds 1 and 2, not 3"):
        hyperkvasir.fold_split(root, 3)


def test_every_spelling_is_of_a_class() -> None:
    assert set(hyperkvasir.SPELLINGS.values()) <= set(hyperkvasir.CLASSES)
    assert not set(hyperkvasir.SPELLINGS) & set(hyperkvasir.CLASSES)


def test_other_places_of_images_and_table(root: Path) -> None:
    (root / "official_splits" / "2_fold_split.csv").rename(root / "2_fold_split.csv")
    for tract in hyperkvasir.TRACTS:
        (root / "labeled-images" / tract).rename(root / tract)
    (root / "labeled-images").rmdir()
    assert hyperkvasir.find(root) == root
    assert len(hyperkvasir.scan(root).samples) == 5


def test_found_and_registered(root: Path) -> None:
    assert hyperkvasir.find(root.parent) == hyperkvasir.find(root) == root
    assert hyperkvasir.find(root / "official_splits") is None
    assert SAMPLE_DATASETS.get("hyperkvasir").scan is hyperkvasir.scan


def test_only_the_cases_of_a_split(root: Path) -> None:
    assert [s[:2] for s in labels(hyperkvasir.scan(root, split(["d"], ["a"])))] == [("a", "test"), ("d", "train")]
    with pytest.raises(UserError, match=r"case 'z' of the split has no row in '.*2_fold_split.csv'"):
        hyperkvasir.scan(root, split(["z"], ["a"]))


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (3, "b.jpg;polip;1", r"row 2 of '.*' has the class 'polip'; known are barretts, "),
        (3, "b.jpg;polyp;2", r"row 2 of '.*' has split-index '2'; it is 0 or 1"),
        (3, "a.jpg;polyp;1", r"row 2 of '.*' is the second one of a.jpg"),
        (3, "f.jpg;polyp;1", r"image '.*polyps/b.jpg' has no row in '.*2_fold_split.csv'"),
        (3, "b.jpg;ileum;1", r"row 2 of '.*' says 'ileum', but its image is '.*polyps/b.jpg'"),
        (1, "file;class-name;split-index", "has no column 'file-name'"),
        (3, None, r"image '.*polyps/b.jpg' has no row"),
    ],
)
def test_broken_rows(line: int, text: str | None, message: str, root: Path) -> None:
    edit_line(root / "official_splits" / "2_fold_split.csv", line, text)
    with pytest.raises(UserError, match=message):
        hyperkvasir.scan(root)


def test_missing_and_doubled_files(root: Path) -> None:
    polyps = root / "labeled-images" / "lower-gi-tract" / "pathological-findings" / "polyps"
    write_images(polyps.parent / "ileum", ["b.jpg"])
    with pytest.raises(UserError, match=r"'.*ileum/b.jpg' and '.*polyps/b.jpg' have the same name"):
        hyperkvasir.scan(root)
    (polyps.parent / "ileum" / "b.jpg").unlink()
    (polyps / "b.jpg").unlink()
    with pytest.raises(UserError, match=r"row 2 of '.*' is of b.jpg, but no image is called so"):
        hyperkvasir.scan(root)
    (root / "official_splits" / "2_fold_split.csv").unlink()
    with pytest.raises(UserError, match=r"2_fold_split.csv' is missing; it is not in the archive of images, copy it"):
        hyperkvasir.scan(root)


def test_a_missing_tract(root: Path) -> None:
    (root / "labeled-images" / "upper-gi-tract").rename(root / "upper")
    with pytest.raises(UserError, match=r"labeled-images/upper-gi-tract' is missing"):
        hyperkvasir.scan(root)

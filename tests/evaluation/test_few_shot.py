import hashlib
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from evaluation.datasets.samples import Target
from evaluation.datasets.workflow import SPLITS, load_split
from evaluation.few_shot import (
    CASE_SHOTS,
    FEW_SHOT_FILE,
    few_case_subsets,
    few_image_rows,
    missing_classes,
    shipped_lists,
    write_few_shot,
)
from training.errors import UserError

CASES = [f"video{number:02d}" for number in range(1, 41)]
TARGET = Target("action", "single", ("cut", "grasp", "suture"))


def by_digest(prefix: str, names: list[str]) -> list[str]:
    digests = sorted((hashlib.sha256((prefix + name).encode()).digest(), name) for name in names)
    return [name for _, name in digests]


def test_a_subset_is_what_comes_first_by_digest() -> None:
    subsets = few_case_subsets("cholec80", "40_40", CASES, 4)
    expected = tuple(tuple(by_digest(f"cholec80/40_40/{number}/", CASES)[:4]) for number in (1, 2, 3))
    assert subsets == expected
    assert len({frozenset(subset) for subset in subsets}) == 3


def test_subsets_are_nested_and_know_no_order_of_cases() -> None:
    sizes = [few_case_subsets("cholec80", "40_40", CASES, count) for count in CASE_SHOTS]
    for smaller, larger in pairwise(sizes):
        assert all(big[: len(small)] == small for small, big in zip(smaller, larger, strict=True))
    assert few_case_subsets("cholec80", "40_40", [*reversed(CASES), "video01"], 8) == sizes[-1]
    assert few_case_subsets("cholec80", "40_8_32", CASES, 8) != sizes[-1]


@pytest.mark.parametrize("count", [0, 41])
def test_another_number_of_cases(count: int) -> None:
    message = f"few-shot with {count} cases: split '40_40' of cholec80 has 40 training cases; give 1 to 40"
    with pytest.raises(UserError, match=message):
        few_case_subsets("cholec80", "40_40", CASES, count)


def test_images_of_each_class() -> None:
    ids = [f"{label}/{number}.jpg" for number in range(12) for label in ("a", "b")] + ["c/only.jpg"]
    targets = np.array([0, 1] * 12 + [2])
    subsets = few_image_rows("lapgyn4", "fold_1", ids, targets, 5)
    for number, rows in enumerate(subsets, start=1):
        assert np.bincount(targets[rows]).tolist() == [5, 5, 1]  # the last class has one image
        assert (rows.dtype, (np.diff(rows) > 0).all()) == (np.dtype(np.int64), True)
        first = by_digest(f"lapgyn4/fold_1/{number}/", ids[0:24:2])[:5]
        assert {ids[row] for row in rows if targets[row] == 0} == set(first)
    smaller = few_image_rows("lapgyn4", "fold_1", ids, targets, 1)
    assert all(set(small.tolist()) <= set(big.tolist()) for small, big in zip(smaller, subsets, strict=True))


def test_images_in_another_order_are_the_same_ones() -> None:
    ids = [f"{number}.jpg" for number in range(20)]
    targets = np.arange(20) % 3
    back = few_image_rows("lapgyn4", "fold_1", ids[::-1], targets[::-1], 2)
    there = few_image_rows("lapgyn4", "fold_1", ids, targets, 2)
    assert [{19 - row for row in rows.tolist()} for rows in back] == [set(rows.tolist()) for rows in there]


def test_images_that_cannot_be_told_apart_or_have_several_classes() -> None:
    with pytest.raises(ValueError, match=r"2 ids, 1 of them different, for targets of shape \(2,\)"):
        few_image_rows("lapgyn4", "fold_1", ["a", "a"], np.array([0, 1]), 1)
    with pytest.raises(ValueError, match=r"2 ids, 2 of them different, for targets of shape \(2, 3\)"):
        few_image_rows("lapgyn4", "fold_1", ["a", "b"], np.zeros((2, 3), bool), 1)
    with pytest.raises(UserError, match="few-shot with 0 images of each class of lapgyn4; give 1 or more"):
        few_image_rows("lapgyn4", "fold_1", ["a"], np.array([0]), 0)


def test_missing_classes_are_named() -> None:
    targets = np.array([0, 2, 2, 0])  # nothing of the train side shows "grasp"
    assert missing_classes(TARGET, targets, [0, 3]) == ("suture",)
    assert missing_classes(TARGET, targets, np.array([0, 1])) == ()
    several = Target("tool", "multi", ("a", "b", "c"))
    flags = np.array([[1, 0, 0], [1, 1, 0]], dtype=bool)
    assert missing_classes(several, flags, [0]) == ("b",)
    assert missing_classes(several, flags, []) == ("a", "b")
    with pytest.raises(ValueError, match="target skill holds values"):
        missing_classes(Target("skill", "value", ("GRS",)), np.zeros((1, 1), np.float32), [0])


def test_the_shipped_lists_are_those_of_the_rule() -> None:
    shipped = json.loads(FEW_SHOT_FILE.read_text(encoding="utf-8"))
    assert shipped["datasets"] == shipped_lists(), "run python -m evaluation.few_shot"
    assert tuple(shipped["shots"]) == CASE_SHOTS
    assert set(shipped["datasets"]) == {file.stem for file in SPLITS.glob("*.json")} - {"few_shot"}
    for count in CASE_SHOTS:
        own = few_case_subsets("cholec80", "40_8_32", load_split("cholec80").train, count)
        assert [subset[:count] for subset in shipped["datasets"]["cholec80"]["40_8_32"]] == [list(one) for one in own]


def test_a_short_train_side_has_shorter_lists() -> None:
    assert [len(subset) for subset in shipped_lists()["psi_ava"]["fold1"]] == [4, 4, 4]


def test_lists_are_written_as_they_are_shipped(tmp_path: Path) -> None:
    assert write_few_shot(tmp_path / "few_shot.json").read_bytes() == FEW_SHOT_FILE.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["few_shot.json"]

import hashlib

import pytest

from evaluation.datasets.hash_folds import FOLDS, fold_of, hash_split
from training.errors import UserError

CASES = [f"c_{number}" for number in range(50)]


def test_the_fold_of_a_case_is_its_digest_modulo_five() -> None:
    digest = hashlib.sha256(b"lapgyn4/c_7").digest()
    assert fold_of("lapgyn4", "c_7") == int.from_bytes(digest, "big") % 5 + 1
    assert {fold_of("lapgyn4", case) for case in CASES} == {1, 2, 3, 4, 5}


def test_every_case_is_tested_once_and_validated_once() -> None:
    splits = [hash_split("lapgyn4", CASES, fold) for fold in range(1, FOLDS + 1)]
    assert sorted(case for split in splits for case in split.test) == sorted(CASES)
    assert sorted(case for split in splits for case in split.val) == sorted(CASES)
    assert all(sorted(split.train + split.val + split.test) == sorted(CASES) for split in splits)
    assert splits[4].val == splits[0].test
    assert splits[0].name == "fold_1"
    assert "group 5 for testing, group 1 for validation" in splits[4].source


def test_missing_cases_and_order_move_no_other_case() -> None:
    whole, part = hash_split("lemon", CASES, 2), hash_split("lemon", reversed(CASES[::2]), 2)
    assert set(part.train) == set(whole.train) & set(CASES[::2])
    assert set(part.test) == set(whole.test) & set(CASES[::2])


@pytest.mark.parametrize("fold", [0, 6])
def test_another_fold(fold: int) -> None:
    with pytest.raises(UserError, match=rf"lemon has the folds 1 to 5, not {fold}"):
        hash_split("lemon", CASES, fold)

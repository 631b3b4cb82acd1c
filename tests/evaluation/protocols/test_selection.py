import numpy as np
import pytest

from evaluation.protocols.selection import Chosen, choose

CANDIDATES = [{"k": 1}, {"k": 2}, {"k": 3}]


def test_best_first_among_equals() -> None:
    chosen = choose(CANDIDATES, np.array([0.1, 0.5, 0.5]), "mAP")
    assert (chosen.values, chosen.chosen_on, chosen.criterion) == ({"k": 2}, "train folds by case", "mAP")


def test_undefined_scores_are_passed_over() -> None:
    assert choose(CANDIDATES, np.array([np.nan, 0.1, np.nan]), "mAP").values == {"k": 2}


def test_without_folds_or_scores_the_middle_is_taken_and_said() -> None:
    single = choose(CANDIDATES, None, "mAP")
    assert (single.values, single.chosen_on, single.criterion) == (
        {"k": 2},
        "fixed before the run",
        "a single training case",
    )
    undefined = choose(CANDIDATES, np.full(3, np.nan), "mAP")
    assert undefined.criterion == "mAP undefined on train folds by case"


def test_a_choice_on_test_cases_cannot_be_expressed() -> None:
    with pytest.raises(ValueError, match="possible are validation cases, train folds by case, fixed before the run"):
        Chosen({"k": 1}, "test cases", "mAP")  # type: ignore[arg-type]

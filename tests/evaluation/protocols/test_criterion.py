import math

import numpy as np
import pytest

from evaluation.datasets.samples import Kind, Target
from evaluation.protocols.criterion import CRITERIA, choose_held_out, columns, macro_f1, r_squared

THREE = ("a", "b", "c")
CANDIDATES = [{"k": 1}, {"k": 2}, {"k": 3}]


def test_columns_of_every_kind() -> None:
    one_hot = columns(Target("t", "single", THREE), np.array([2, 0]))
    assert one_hot.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert columns(Target("t", "multi", THREE), np.array([[True, False, True]])).tolist() == [[1, 0, 1]]
    values = columns(Target("t", "value", THREE), np.array([[1.5, 2, 3]]))
    assert (values.tolist(), values.dtype) == ([[1.5, 2, 3]], np.float32)


def test_macro_f1_hand_computed() -> None:
    """Truth 0 0 1 1, called 0 1 1 2: F1 of 0 is 2/3, of 1 is 1/2; class 2 does not occur and takes no part."""
    truth, called = np.eye(3)[[0, 0, 1, 1]], np.eye(3)[[0, 1, 1, 2]]
    assert macro_f1(truth, called) == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_r_squared_hand_computed_and_constant_columns_take_no_part() -> None:
    truth = np.array([[0.0, 5.0], [2.0, 5.0]])
    assert r_squared(truth, np.array([[0.5, 0.0], [2.0, 0.0]])) == pytest.approx(1 - 0.25 / 2)
    assert math.isnan(r_squared(truth[:, 1:], truth[:, 1:]))


@pytest.mark.parametrize("kind", ["single", "multi", "value"])
def test_the_best_of_held_out_scores_is_chosen_and_rows_not_asked_about_are_left_out(kind: Kind) -> None:
    target = Target("t", kind, THREE)
    targets = {
        "single": np.array([0, 1, 2, 0]),
        "multi": np.eye(3, dtype=bool)[[0, 1, 2, 0]],
        "value": np.eye(3, dtype=np.float32)[[0, 1, 2, 0]],
    }[kind]
    truth = columns(target, targets)
    held_out = np.stack([1 - truth, truth, 1 - truth])
    held_out[:, 3] = np.nan
    chosen = choose_held_out(CANDIDATES, held_out, target, targets, "validation cases")
    assert (chosen.values, chosen.chosen_on, chosen.criterion) == ({"k": 2}, "validation cases", CRITERIA[kind])


def test_nothing_held_out_leaves_the_middle() -> None:
    held_out = np.full((3, 2, 3), np.nan)
    chosen = choose_held_out(
        CANDIDATES, held_out, Target("t", "single", THREE), np.array([0, 1]), "train folds by case"
    )
    assert (chosen.values, chosen.chosen_on) == ({"k": 2}, "fixed before the run")

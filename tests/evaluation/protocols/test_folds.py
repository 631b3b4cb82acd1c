import numpy as np

from evaluation.protocols.folds import case_folds


def test_no_case_is_on_both_sides_and_every_row_is_scored_once() -> None:
    cases = [f"case{number % 7}" for number in range(50)]
    folds = list(case_folds(cases, 5))
    assert len(folds) == 5
    for fit, score in folds:
        assert not {cases[row] for row in fit} & {cases[row] for row in score}
        assert len(fit) + len(score) == 50
    assert sorted(np.concatenate([score for _, score in folds]).tolist()) == list(range(50))


def test_fewer_cases_than_folds() -> None:
    assert len(list(case_folds(["a", "a", "b"], 5))) == 2


def test_a_single_case_cannot_be_folded() -> None:
    assert list(case_folds(["a", "a"], 5)) == []

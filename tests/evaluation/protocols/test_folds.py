import numpy as np

from evaluation.protocols.folds import case_folds, draw_rows, inner_folds
from tests.evaluation.protocols.probe_problem import make_problem, make_targets


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


def test_validation_cases_are_scored_by_a_fit_on_the_train_side_alone() -> None:
    _, problem = make_problem(make_targets("single", 24), "single", sides=(3, 1, 2))
    samples, folds, chosen_on = inner_folds(problem, 5)
    assert chosen_on == "validation cases"
    assert [(fit.tolist(), score.tolist()) for fit, score in folds] == [(list(range(12)), list(range(12, 16)))]
    assert samples.cases == problem.train.cases + problem.val.cases


def test_without_validation_cases_there_are_folds_over_training_cases() -> None:
    _, problem = make_problem(make_targets("single", 24), "single", sides=(4, 0, 2))
    samples, folds, chosen_on = inner_folds(problem, 3)
    assert (samples, len(folds), chosen_on) == (problem.train, 3, "train folds by case")
    _, problem = make_problem(make_targets("single", 24), "single", sides=(1, 0, 1))
    assert inner_folds(problem, 3)[1:] == ([], "fixed before the run")


def test_draw_rows_takes_all_or_a_seeded_choice_in_order() -> None:
    rows = np.arange(100, 110)
    assert draw_rows(np.random.default_rng(0), rows, 10) is rows
    drawn = draw_rows(np.random.default_rng(0), rows, 4)
    assert len(set(drawn.tolist())) == 4
    assert (np.diff(drawn) > 0).all()
    assert drawn.tolist() == draw_rows(np.random.default_rng(0), rows, 4).tolist()

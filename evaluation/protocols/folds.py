"""Where hyper-parameters are chosen: on validation cases or on folds over training cases, never on a test case."""

from collections.abc import Iterator, Sequence

import numpy as np
from sklearn.model_selection import GroupKFold

from evaluation.protocols.problem import Problem, Samples
from evaluation.protocols.selection import ChosenOn


def case_folds(cases: Sequence[str], max_folds: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of row indices (fit, score); no case is on both sides. Nothing is yielded for a single case.

    Args:
        cases: case of each training row.
        max_folds: folds to make when there are that many cases; otherwise one per case.
    """
    distinct = len(set(cases))
    if distinct >= 2:
        rows = np.zeros((len(cases), 1))
        yield from GroupKFold(n_splits=min(max_folds, distinct)).split(rows, groups=np.asarray(cases))


def inner_folds(problem: Problem, max_folds: int) -> tuple[Samples, list[tuple[np.ndarray, np.ndarray]], ChosenOn]:
    """How to choose: fit on the train side and score on the validation side, or folds over the training cases.

    Args:
        problem: with or without validation samples.
        max_folds: see `case_folds`; with validation samples there is one.

    Returns:
        The samples that the folds index; pairs of row indices (fit, score), none if there is a single training case and
        no validation side; and what records say about it. The final fit is on the train side alone.
    """
    if len(problem.val):
        count = len(problem.train)
        rows = np.arange(count + len(problem.val))
        return problem.train + problem.val, [(rows[:count], rows[count:])], "validation cases"
    folds = list(case_folds(problem.train.cases, max_folds))
    return problem.train, folds, "train folds by case" if folds else "fixed before the run"


def draw_rows(rng: np.random.Generator, rows: np.ndarray, most: int) -> np.ndarray:
    """All row indices, or a draw of `most` without replacement where there are more, in order."""
    return rows if len(rows) <= most else np.sort(rng.choice(rows, size=most, replace=False))

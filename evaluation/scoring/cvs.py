"""Scores of the critical view of safety: mean average precision, balanced accuracy and F1 of the criteria."""

import numpy as np

from evaluation.predictions import Predictions
from evaluation.scoring import labels
from evaluation.scoring.measured import Compute, Measured, case_rows, defined_mean, named


def score(predictions: Predictions) -> list[Measured]:
    """Average precision as of any multi-label target, and what a decision at even odds gives."""
    cases, owner = case_rows(predictions.cases)
    truth, called = predictions.targets, predictions.scores > 0  # (N, 3)
    cells = {
        (actual, decided): np.stack(
            [((truth == actual) & (called == decided))[owner == case].sum(axis=0) for case in range(len(cases))]
        ).astype(np.float64)  # (cases, 3)
        for actual in (True, False)
        for decided in (True, False)
    }
    variant = "at log odds 0, pooled frames, mean over criteria"

    def measured(metric: str, of_criteria: Compute) -> Measured:
        detail = {"per_class": named(predictions.target.classes, of_criteria(np.ones((1, len(cases))))[0])}
        return Measured(metric, variant, cases, lambda weights: defined_mean(of_criteria(weights)), detail=detail)

    balanced, f1 = measured("balanced_accuracy", _balanced(cells)), measured("f1", _f1(cells))
    return [*labels.score(predictions), balanced, f1]


def _balanced(cells: dict[tuple[bool, bool], np.ndarray]) -> Compute:
    """Mean of sensitivity and specificity of each criterion, (R, 3); NaN where either has no frame."""

    def compute(weights: np.ndarray) -> np.ndarray:
        counts = {key: weights @ value for key, value in cells.items()}
        rates = [
            _divide(counts[actual, actual], counts[actual, actual] + counts[actual, not actual])
            for actual in (True, False)
        ]
        return (rates[0] + rates[1]) / 2

    return compute


def _f1(cells: dict[tuple[bool, bool], np.ndarray]) -> Compute:
    """2 TP / (2 TP + FP + FN) of each criterion, (R, 3); NaN for one that no frame meets."""

    def compute(weights: np.ndarray) -> np.ndarray:
        counts = {key: weights @ value for key, value in cells.items()}
        f1 = _divide(2 * counts[True, True], 2 * counts[True, True] + counts[True, False] + counts[False, True])
        return np.where(counts[True, True] + counts[True, False] > 0, f1, np.nan)

    return compute


def _divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)

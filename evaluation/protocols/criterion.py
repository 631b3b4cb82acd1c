"""What probes maximise on inner folds for each kind of target, and targets of any kind as columns of numbers."""

from collections.abc import Mapping, Sequence

import numpy as np

from evaluation.datasets.samples import Kind, Target
from evaluation.metrics.mean_average_precision import average_precision, mean_over_positive_classes
from evaluation.protocols.selection import Chosen, ChosenOn, choose

# Macro F1 punishes calling a rare class too often as well as missing it; balanced accuracy only the second. R² is
# defined for a constant prediction, which a rank correlation is not, and weighs values of different units the same.
CRITERIA: dict[Kind, str] = {
    "single": "macro F1 of pooled held-out rows",
    "multi": "mean average precision of pooled held-out rows",
    "value": "R² of pooled held-out rows",
}


def columns(target: Target, targets: np.ndarray) -> np.ndarray:
    """Targets as float32 (N, C): one-hot rows of class ids, 0 or 1 per column, or the values themselves."""
    if target.kind == "single":
        return np.eye(len(target.classes), dtype=np.float32)[targets]
    return targets.astype(np.float32)


def choose_held_out(
    candidates: Sequence[Mapping[str, float | int | str]],
    held_out: np.ndarray,
    target: Target,
    targets: np.ndarray,
    chosen_on: ChosenOn,
) -> Chosen:
    """The candidate whose scores of held-out rows are best by the criterion of the kind.

    Args:
        candidates: settings to choose from, the more cautious ones first.
        held_out: float (candidates, N, C), each row scored by a fit that did not see it; NaN rows were not asked about.
        target: what is predicted.
        targets: of the N rows.
        chosen_on: where the rows are from.

    Returns:
        The best candidate; the middle one if no row was scored or the criterion is undefined.
    """
    asked = ~np.isnan(held_out[0]).any(axis=1)
    inner = None
    if asked.any():
        truth = columns(target, targets[asked])
        inner = np.array([_criterion(target.kind, truth, scores[asked]) for scores in held_out])
    return choose(candidates, inner, CRITERIA[target.kind], chosen_on)


def _criterion(kind: Kind, truth: np.ndarray, scores: np.ndarray) -> float:
    if kind == "multi":
        return float(mean_over_positive_classes(average_precision(truth, scores)))
    if kind == "single":
        return macro_f1(truth, scores)
    return r_squared(truth, scores)


def macro_f1(truth: np.ndarray, scores: np.ndarray) -> float:
    """Mean over the classes that occur of F1 = 2 TP / (called + occurring), where the highest score is called.

    Args:
        truth: one-hot (N, C).
        scores: (N, C).
    """
    called = np.eye(truth.shape[1])[scores.argmax(axis=1)]
    hits, total = (called * truth).sum(axis=0), called.sum(axis=0) + truth.sum(axis=0)
    occurs = truth.any(axis=0)
    return float((2 * hits[occurs] / total[occurs]).mean())


def r_squared(truth: np.ndarray, scores: np.ndarray) -> float:
    """1 - mean over columns of squared error / variance; columns (of N rows) without variance take no part."""
    error, variance = ((truth - other) ** 2 for other in (scores, truth.mean(axis=0)))
    varies = variance.sum(axis=0) > 0
    if not varies.any():
        return float("nan")
    return float(1 - (error.sum(axis=0)[varies] / variance.sum(axis=0)[varies]).mean())

"""Scores of surgical skill, ratings and levels: numpy functions and the `evaluate` module over them."""

from collections.abc import Sequence

# One import per line: the import scanner of `evaluate` cannot read two on one.
import datasets
import evaluate
import numpy as np

VARIANT = "Spearman rho per criterion over all trials, mean over the criteria whose reference varies"
HIGHER_IS_BETTER = True  # of all but the mean absolute error

_DESCRIPTION = """
Ratings, per criterion over all trials: Spearman's rho, the correlation of the ranks (equal values share the average of
their ranks), and the mean absolute error. Rho is NaN where the reference or the prediction is the same for all trials.
The mean of rho leaves out criteria whose reference is constant, which no model can rank; a constant prediction of any
other criterion makes the mean NaN, because leaving it out would reward the model for not answering.
Levels (novice, intermediate, expert): accuracy, and F1 = 2 TP / (2 TP + FP + FN) averaged over the levels that occur
in the reference. A level that is only predicted has no F1 of its own; it costs those whose trials it took.
"""
_CITATION = """
Spearman, C. (1904). The proof and measurement of association between two things. American Journal of Psychology 15.
"""
_INPUTS = """
predictions: list of rating vectors, one per trial, one rating per criterion.
references: list of rating vectors of the same shape.
criteria: optional names of the criteria (default: "0", "1", ...).
predicted_levels, reference_levels: optional skill level of each trial (text or number), both or neither.
"""


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks 1 .. N in ascending order; equal values share the average of their ranks: (N,) -> (N,) float64."""
    _, group, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)  # highest rank of each group of equal values
    return (last - (count - 1) / 2)[group.reshape(-1)]


def spearman(references: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Spearman's rho of every criterion: Pearson's correlation of the average ranks.

    Args:
        references: (N, C) float.
        predictions: (N, C) float.

    Returns:
        (C,) float64 in -1 to 1; NaN where references or predictions are constant (always with one trial).

    Raises:
        ValueError: other shapes, no trial, or a rating that is not finite.
    """
    references, predictions = _checked(references, predictions)
    return np.array([_rho(references[:, c], predictions[:, c]) for c in range(references.shape[1])])


def mean_spearman(references: np.ndarray, predictions: np.ndarray) -> float:
    """Mean rho over the criteria whose reference varies (not through Fisher's z).

    NaN if no reference varies, or if the prediction of one that does is constant.

    Args:
        references: (N, C) float.
        predictions: (N, C) float.

    Raises:
        ValueError: as `spearman`.
    """
    references, predictions = _checked(references, predictions)
    rho = spearman(references, predictions)[~_constant(references)]
    return float(rho.mean()) if rho.size else float("nan")


def mean_absolute_error(references: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Mean absolute error of every criterion in rating points, (N, C) and (N, C) -> (C,).

    Raises:
        ValueError: as `spearman`.
    """
    references, predictions = _checked(references, predictions)
    return np.abs(references - predictions).mean(axis=0)


def level_f1(references: Sequence[object], predictions: Sequence[object]) -> dict[object, float]:
    """F1 of every level that occurs in the reference, in order of appearance.

    Args:
        references: the level of each trial.
        predictions: the level predicted for each trial.

    Raises:
        ValueError: no trial, or different numbers of them.
    """
    if len(references) != len(predictions) or len(references) == 0:
        raise ValueError(f"{len(references)} reference levels and {len(predictions)} predicted; one each per trial")
    pairs = list(zip(references, predictions, strict=True))
    return {
        level: 2
        * sum(true == level == predicted for true, predicted in pairs)
        / sum((true == level) + (predicted == level) for true, predicted in pairs)
        for level in dict.fromkeys(references)
    }


def _checked(references: np.ndarray, predictions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    references, predictions = np.asarray(references, dtype=np.float64), np.asarray(predictions, dtype=np.float64)
    if references.ndim != 2 or references.shape != predictions.shape or len(references) == 0:
        raise ValueError(
            f"references {references.shape} and predictions {predictions.shape} must both be (trials, criteria), "
            "not empty"
        )
    for noun, values in (("references", references), ("predictions", predictions)):
        if not np.isfinite(values).all():
            raise ValueError(f"{noun} must be finite; leave out trials without a rating")
    return references, predictions


def _constant(values: np.ndarray) -> np.ndarray:
    return (values == values[:1]).all(axis=0)


def _rho(reference: np.ndarray, prediction: np.ndarray) -> float:
    first, second = (average_ranks(values) - (len(values) + 1) / 2 for values in (reference, prediction))
    scale = np.sqrt((first @ first) * (second @ second))
    return float(np.clip(first @ second / scale, -1.0, 1.0)) if scale > 0 else float("nan")


class SkillScore(evaluate.Metric):
    """The `evaluate` module: see `_DESCRIPTION` for the formulas and `_INPUTS` for the arguments of `compute`."""

    def _info(self) -> evaluate.MetricInfo:
        vector = datasets.Sequence(datasets.Value("float64"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": vector, "references": vector}),
        )

    def _compute(
        self,
        predictions: list[list[float]],
        references: list[list[float]],
        criteria: list[str] | None = None,
        predicted_levels: Sequence[object] | None = None,
        reference_levels: Sequence[object] | None = None,
    ) -> dict[str, object]:
        truth, predicted = _checked(np.asarray(references), np.asarray(predictions))
        names = criteria or [str(index) for index in range(truth.shape[1])]
        if len(names) != truth.shape[1]:
            raise ValueError(f"{len(names)} names for {truth.shape[1]} criteria")
        errors, rho = mean_absolute_error(truth, predicted), spearman(truth, predicted)
        return {
            "skill_score": mean_spearman(truth, predicted),
            "variant": VARIANT,
            "spearman": {n: None if np.isnan(value) else float(value) for n, value in zip(names, rho, strict=True)},
            "constant_references": [n for n, same in zip(names, _constant(truth), strict=True) if same],
            "constant_predictions": [n for n, same in zip(names, _constant(predicted), strict=True) if same],
            "mean_absolute_error": float(errors.mean()),
            "absolute_error": {n: float(value) for n, value in zip(names, errors, strict=True)},
            "per_trial_absolute_error": np.abs(truth - predicted).tolist(),
            "trials": len(truth),
            **self._levels(reference_levels, predicted_levels, len(truth)),
        }

    def _levels(
        self, references: Sequence[object] | None, predictions: Sequence[object] | None, trials: int
    ) -> dict[str, object]:
        """Scores of the levels; NaN and empty where none are given."""
        if references is None and predictions is None:
            return {"level_accuracy": float("nan"), "level_macro_f1": float("nan"), "level_f1": {}, "level_correct": []}
        if references is None or predictions is None:
            raise ValueError("give both reference_levels and predicted_levels, or neither")
        if len(references) != trials:
            raise ValueError(f"{len(references)} reference levels for {trials} trials")
        per_level = level_f1(references, predictions)
        correct = [bool(true == predicted) for true, predicted in zip(references, predictions, strict=True)]
        return {
            "level_accuracy": sum(correct) / trials,
            "level_macro_f1": sum(per_level.values()) / len(per_level),
            "level_f1": per_level,
            "level_correct": correct,
        }

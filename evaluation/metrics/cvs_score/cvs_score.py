"""Scores of the critical view of safety (CVS) per criterion: numpy functions and the `evaluate` module over them."""

from collections.abc import Callable

# One import per line: the import scanner of `evaluate` cannot read two on one.
import datasets
import evaluate
import numpy as np

VARIANT = "pooled frames, mean over the criteria where the score is defined"
HIGHER_IS_BETTER = True  # of all but the Brier score
THRESHOLD = 0.5  # from which probability, and from which mean of the raters, a criterion counts as met

_DESCRIPTION = """
Per criterion, over all pooled frames: average precision AP = sum_n (R_n - R_{n-1}) P_n with one threshold per distinct
score (no interpolation); balanced accuracy (TPR + TNR) / 2 and F1 = 2 TP / (2 TP + FP + FN), a criterion counting as
predicted from 0.5 on; Brier score mean (p - y)^2 against the binary label. A criterion is met when the mean of
its raters is at least 0.5, which is the majority of three. AP and F1 are NaN without a frame that meets the criterion;
balanced accuracy is NaN unless some frames meet it and some do not. The means leave such criteria out, never as 0.
"""
_CITATION = """
Murali et al. (2023). The Endoscapes Dataset for Surgical Scene Segmentation, Object Detection, and Critical View of
Safety Assessment: Official Splits and Benchmark. arXiv:2312.12429.
Rios et al. (2023). Cholec80-CVS: An open dataset with an evaluation of Strasberg's critical view of safety for AI.
Scientific Data 10.
"""
_INPUTS = """
predictions: list of probability vectors (0 to 1), one per frame, one probability per criterion.
references: list of vectors of the same shape, the mean over the raters of each criterion (0 to 1; 0 and 1 if there is
    one label). Points of Cholec80-CVS (0, 1, 2) become min(1, points) first.
cases: list with the case (video) of each frame, as text.
criteria: optional names of the criteria (default: "C1", "C2", ...).
"""


def binary_from_raters(means: np.ndarray) -> np.ndarray:
    """Whether each criterion is met: mean of the raters at least 0.5, so a tie of an even number of raters is met.

    Args:
        means: (N, C) means over the raters of their 0/1 marks, as `ds` of Endoscapes (0, 1/3, 2/3, 1).

    Returns:
        bool (N, C).

    Raises:
        ValueError: a mean outside 0 to 1.
    """
    means = np.asarray(means, dtype=np.float64)
    if not ((means >= 0) & (means <= 1)).all():
        raise ValueError("means of raters must lie in 0 to 1; points of Cholec80-CVS become min(1, points)")
    return means >= THRESHOLD


def binary_from_points(points: np.ndarray) -> np.ndarray:
    """Labels of Cholec80-CVS: a criterion is met from one point on, min(1, points).

    Args:
        points: (N, C) 0, 1 or 2 points.

    Returns:
        bool (N, C).

    Raises:
        ValueError: other points.
    """
    points = np.asarray(points)
    if not np.isin(points, (0, 1, 2)).all():
        raise ValueError("points of Cholec80-CVS are 0, 1 or 2")
    return points >= 1


def average_precision(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Average precision of each criterion, (N, C) and (N, C) -> (C,); NaN for one that no frame meets."""

    def one(truth: np.ndarray, scores: np.ndarray) -> float:
        order = np.argsort(-scores, kind="stable")
        ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # last frame of each group of equal scores
        hits = np.cumsum(truth[order], dtype=np.float64)[ends]
        return float((np.diff(hits, prepend=0.0) * hits / (ends + 1)).sum() / hits[-1]) if hits[-1] else float("nan")

    return _per_criterion(one, labels, probabilities)


def balanced_accuracy(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Mean of sensitivity and specificity at 0.5, (N, C) and (N, C) -> (C,); NaN if either has no frame."""

    def one(truth: np.ndarray, scores: np.ndarray) -> float:
        if truth.all() or not truth.any():
            return float("nan")
        predicted = scores >= THRESHOLD
        return float((predicted[truth].mean() + (~predicted[~truth]).mean()) / 2)

    return _per_criterion(one, labels, probabilities)


def f1_score(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """F1 at 0.5, (N, C) and (N, C) -> (C,); NaN for a criterion that no frame meets."""

    def one(truth: np.ndarray, scores: np.ndarray) -> float:
        predicted = scores >= THRESHOLD
        # 2 TP + FP + FN is the number of true plus the number of predicted frames
        return float(2 * (truth & predicted).sum() / (truth.sum() + predicted.sum())) if truth.any() else float("nan")

    return _per_criterion(one, labels, probabilities)


def brier_score(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Mean squared difference of probability and 0/1 label, (N, C) and (N, C) -> (C,); lower is better."""
    return _per_criterion(lambda truth, scores: float(np.square(scores - truth).mean()), labels, probabilities)


def mean_over_criteria(values: np.ndarray) -> float:
    """Mean of the defined values, (C,) -> float; NaN if there is none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def _per_criterion(
    one: Callable[[np.ndarray, np.ndarray], float], labels: np.ndarray, probabilities: np.ndarray
) -> np.ndarray:
    """`one(labels, probabilities)` for each column, as (C,) float64.

    Raises:
        ValueError: other shapes, no frame, a label that is not 0 or 1, a probability outside 0 to 1 (or NaN).
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    if labels.ndim != 2 or labels.shape != probabilities.shape or len(labels) == 0:
        raise ValueError(
            f"labels {labels.shape} and probabilities {probabilities.shape} must both be (frames, criteria), not empty"
        )
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels must be 0 or 1; means of raters go through binary_from_raters")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("probabilities must lie in 0 to 1; logits go through a sigmoid first")
    return np.array([one(labels[:, c].astype(bool), probabilities[:, c]) for c in range(labels.shape[1])])


SCORES = {
    "average_precision": average_precision,
    "balanced_accuracy": balanced_accuracy,
    "f1": f1_score,
    "brier": brier_score,
}


class CVSScore(evaluate.Metric):
    """The `evaluate` module: see `_DESCRIPTION` for the formulas and `_INPUTS` for the arguments of `compute`."""

    def _info(self) -> evaluate.MetricInfo:
        vector = datasets.Sequence(datasets.Value("float64"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": vector, "references": vector, "cases": datasets.Value("string")}
            ),
        )

    def _compute(
        self,
        predictions: list[list[float]],
        references: list[list[float]],
        cases: list[str],
        criteria: list[str] | None = None,
    ) -> dict[str, object]:
        labels, probabilities = binary_from_raters(np.asarray(references)), np.asarray(predictions)
        pooled = {name: score(labels, probabilities) for name, score in SCORES.items()}
        names = criteria or [f"C{index + 1}" for index in range(labels.shape[1])]
        if len(names) != labels.shape[1]:
            raise ValueError(f"{len(names)} names for {labels.shape[1]} criteria")
        owner = np.array(cases)

        def named(values: np.ndarray) -> dict[str, float | None]:
            return {n: None if np.isnan(value) else float(value) for n, value in zip(names, values, strict=True)}

        return {
            "cvs_score": mean_over_criteria(pooled["average_precision"]),
            "variant": VARIANT,
            "mean": {name: mean_over_criteria(values) for name, values in pooled.items()},
            "per_criterion": {name: named(values) for name, values in pooled.items()},
            "per_case": {
                case: {
                    name: named(score(labels[owner == case], probabilities[owner == case]))
                    for name, score in SCORES.items()
                }
                for case in dict.fromkeys(cases)
            },
            "positives": {name: int(count) for name, count in zip(names, labels.sum(axis=0), strict=True)},
            "frames": len(labels),
        }

"""Multi-label mean average precision over pooled frames: numpy functions and the `evaluate` module over them."""

# One import per line: the import scanner of `evaluate` cannot read two on one.
import datasets
import evaluate
import numpy as np

VARIANT = "pooled frames, mean over classes with positives"
HIGHER_IS_BETTER = True

_DESCRIPTION = """
Average precision per class over all pooled frames, AP = sum_n (R_n - R_{n-1}) P_n with one threshold per distinct
score (equal scores enter together; no interpolation), then the mean over the classes that have a positive frame.
Classes without positives have no AP: they are named in the result and take no part in the mean.
"""
_CITATION = """
Zhu, M. (2004). Recall, precision and average precision. University of Waterloo.
The formula is that of sklearn.metrics.average_precision_score.
"""
_INPUTS = """
predictions: list of score vectors, one per frame, one score per class; only their order matters.
references: list of 0/1 vectors of the same shape.
class_names: optional list of names, used for the classes in the result (default: "0", "1", ...).
"""


def weighted_average_precision(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average precision of one class under R sets of frame weights at once.

    Args:
        labels: (N,) bool or 0/1.
        scores: (N,) float; equal scores share one threshold.
        weights: (R, N) non-negative; a frame of weight w counts as w equal frames (0 leaves it out).

    Returns:
        (R,) float64; NaN where the positives have no weight.
    """
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    ordered = np.asarray(scores)[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # last frame of each group of equal scores
    ordered_weights = np.asarray(weights, dtype=np.float64)[:, order]
    hits = np.cumsum(ordered_weights * np.asarray(labels, dtype=np.float64)[order], axis=1)[:, ends]
    shown = np.cumsum(ordered_weights, axis=1)[:, ends]
    precision = np.divide(hits, shown, out=np.zeros_like(hits), where=shown > 0)
    gained = np.diff(hits, axis=1, prepend=0.0)
    positives = hits[:, -1]
    total = (gained * precision).sum(axis=1)
    return np.divide(total, positives, out=np.full_like(positives, np.nan), where=positives > 0)


def average_precision(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Average precision of every class; NaN for a class without positives.

    Args:
        labels: (N, C) bool or 0/1.
        scores: (N, C) float.

    Returns:
        (C,) float64.

    Raises:
        ValueError: other shapes, no frame, a label that is not 0 or 1, or a score that is not finite.
    """
    labels, scores = np.asarray(labels), np.asarray(scores)
    if labels.ndim != 2 or labels.shape != scores.shape or len(labels) == 0:
        raise ValueError(f"labels {labels.shape} and scores {scores.shape} must both be (frames, classes), not empty")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels must be 0 or 1; means of raters need a threshold first")
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite")
    ones = np.ones((1, len(labels)))
    return np.array([weighted_average_precision(labels[:, c], scores[:, c], ones)[0] for c in range(labels.shape[1])])


def mean_over_positive_classes(per_class: np.ndarray) -> np.ndarray:
    """Mean over the last axis without the NaN of absent classes; NaN where every class is absent.

    Args:
        per_class: (..., C) float.

    Returns:
        (...) float64.
    """
    defined = ~np.isnan(per_class)
    total = np.where(defined, per_class, 0.0).sum(axis=-1)
    count = defined.sum(axis=-1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


class MeanAveragePrecision(evaluate.Metric):
    """The `evaluate` module: see `_DESCRIPTION` for the formula and `_INPUTS` for the arguments of `compute`."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {
                    "predictions": datasets.Sequence(datasets.Value("float64")),
                    "references": datasets.Sequence(datasets.Value("float64")),  # as integers 2/3 would become 0
                }
            ),
        )

    def _compute(
        self, predictions: list[list[float]], references: list[list[float]], class_names: list[str] | None = None
    ) -> dict[str, object]:
        labels = np.asarray(references)
        per_class = average_precision(labels, np.asarray(predictions))
        names = class_names or [str(index) for index in range(len(per_class))]
        if len(names) != len(per_class):
            raise ValueError(f"{len(names)} class names for {len(per_class)} classes")
        return {
            "mean_average_precision": float(mean_over_positive_classes(per_class)),
            "variant": VARIANT,
            "per_class": {name: None if np.isnan(ap) else float(ap) for name, ap in zip(names, per_class, strict=True)},
            "absent_classes": [name for name, ap in zip(names, per_class, strict=True) if np.isnan(ap)],
            "positives": {name: int(count) for name, count in zip(names, labels.sum(axis=0), strict=True)},
            "frames": len(labels),
        }

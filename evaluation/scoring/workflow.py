"""Scores of phases, steps and gestures: by video, strict, relaxed and segmental."""

import numpy as np

from evaluation.metrics import phase_recognition as phases
from evaluation.metrics import segmental
from evaluation.predictions import Predictions
from evaluation.scoring.measured import Measured, case_rows, defined_mean, named, ratio, weighted_mean

TOLERANCE_SECONDS = 10.0
OVERLAPS = (0.10, 0.25, 0.50)  # IoU of segmental F1, as MS-TCN has them
PRIMARY = "jaccard"

_SCORES = ("precision", "recall", "jaccard", "f1")
_BY_PHASE = "mean over the videos whose truth has the class, then over classes"
_RELAXED = f"boundaries relaxed by {TOLERANCE_SECONDS:g} s, intended mode; "


def score(predictions: Predictions) -> list[Measured]:
    """Accuracy, precision, recall, Jaccard and F1 (strict), accuracy and Jaccard (relaxed), edit, F1@k, fragments."""
    cases, owner = case_rows([predictions.cases[rows.start] for rows in predictions.sequences()])
    pairs = [(predictions.targets[rows], predictions.predicted[rows]) for rows in predictions.sequences()]
    fps = [_rate(predictions.seconds[rows]) for rows in predictions.sequences()]
    classes = len(predictions.target.classes)
    strict = [phases.video_scores(*pair, classes, rate, 0.0) for pair, rate in zip(pairs, fps, strict=True)]
    relaxed = [phases.video_scores(*p, classes, rate, TOLERANCE_SECONDS) for p, rate in zip(pairs, fps, strict=True)]

    def by_video(metric: str, variant: str, values: np.ndarray, **more: bool) -> Measured:
        """Mean over videos of (V,), or of (V, K) over videos and then over classes."""
        detail: dict[str, object] = {"videos": len(values)}
        if values.ndim == 2:
            per_class = weighted_mean(values, np.ones((1, len(values))))[0]
            detail["per_class"] = named(predictions.target.classes, per_class)

        def compute(weights: np.ndarray) -> np.ndarray:
            means = weighted_mean(values, weights[:, owner])
            return defined_mean(means) if values.ndim == 2 else means

        return Measured(
            metric, variant, cases, compute, metric == PRIMARY and "strict" in variant, detail=detail, **more
        )

    measures = [by_video("accuracy", "strict, mean over videos", np.array([s.accuracy for s in strict]))]
    measures += [by_video(m, f"strict, {_BY_PHASE}", np.stack([getattr(s, m) for s in strict])) for m in _SCORES]
    measures.append(by_video("accuracy", f"{_RELAXED}mean over videos", np.array([s.accuracy for s in relaxed])))
    measures.append(by_video("jaccard", _RELAXED + _BY_PHASE, np.stack([s.jaccard for s in relaxed])))
    macro = np.array([phases.macro_f1(*pair, classes) for pair in pairs])
    measures.append(
        by_video("macro_f1", "of each video over the classes of truth or prediction, mean over videos", macro)
    )
    measures.append(by_video("edit", "mean over videos", np.array([segmental.edit_score(*pair) for pair in pairs])))
    for overlap in OVERLAPS:
        counts = np.array([segmental.f1_counts(*pair, overlap) for pair in pairs], dtype=np.float64)
        found, either = 2 * counts[:, 0], counts @ np.array([2.0, 1.0, 1.0])
        measures.append(
            Measured(f"f1@{overlap * 100:.0f}", "segments of all videos pooled", cases, ratio(found, either, owner))
        )
    pieces = np.array([segmental.over_segmentation_counts(*pair) for pair in pairs], dtype=np.float64)
    measures.append(
        Measured(
            "over_segmentation_ratio",
            "predicted by true segments of all videos",
            cases,
            ratio(pieces[:, 0], pieces[:, 2], owner),
            higher_is_better=False,
        )
    )
    return measures


def _rate(seconds: np.ndarray) -> float:
    """Labels per second of a video, from the median distance of its samples; 1 for a single sample."""
    return 1.0 if len(seconds) < 2 else float(1 / np.median(np.diff(seconds)))

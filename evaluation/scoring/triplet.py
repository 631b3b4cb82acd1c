"""Scores of action triplets: average precision of I, V, T, IV, IT and IVT by video, and top-5 accuracy of IVT."""

import numpy as np

from evaluation.metrics.triplet_average_precision import average_precision_by_case, component_values, top_k_accuracy
from evaluation.metrics.triplet_average_precision.triplet_average_precision import COMPONENTS
from evaluation.predictions import Predictions
from evaluation.scoring.measured import Measured, case_rows, defined_mean, weighted_mean

_VARIANT = "video-wise; a class absent from a video has no AP there; mean over videos, then over classes"
_TOP = 5


def score(predictions: Predictions) -> list[Measured]:
    """AP of every component, the maximum over its triplets, IVT first in rank; videos are the cases."""
    cases, _ = case_rows(predictions.cases)
    measures = []
    for component in COMPONENTS:
        truth = component_values(predictions.targets.astype(np.int64), component)
        names, by_case = average_precision_by_case(
            truth, component_values(predictions.scores, component), predictions.cases
        )
        rows = by_case[np.argsort(names)]

        def compute(weights: np.ndarray, rows: np.ndarray = rows) -> np.ndarray:
            return defined_mean(weighted_mean(rows, weights))

        seen = int((~np.isnan(rows).all(axis=0)).sum())
        detail = {"classes": rows.shape[1], "classes_in_test": seen}
        measures.append(
            Measured(f"ap_{component.lower()}", _VARIANT, cases, compute, component == "IVT", detail=detail)
        )
    per_video = np.array(
        [
            top_k_accuracy(predictions.targets[rows].astype(np.int64), predictions.scores[rows], _TOP)
            for rows in (np.asarray(predictions.cases) == case for case in cases)
        ]
    )
    measures.append(
        Measured(f"top_{_TOP}_accuracy", "IVT, mean over videos", cases, lambda w: weighted_mean(per_video, w))
    )
    return measures

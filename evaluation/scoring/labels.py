"""Scores of multi-label targets: mean average precision over pooled samples."""

import numpy as np

from evaluation.metrics.mean_average_precision import average_precision, mean_over_positive_classes
from evaluation.metrics.mean_average_precision.mean_average_precision import VARIANT, weighted_average_precision
from evaluation.predictions import Predictions
from evaluation.scoring.measured import Measured, case_rows, in_chunks, named


def score(predictions: Predictions) -> list[Measured]:
    """Mean average precision of the columns that have a positive sample."""
    cases, owner = case_rows(predictions.cases)
    labels, scores = predictions.targets, predictions.scores

    def compute(weights: np.ndarray) -> np.ndarray:
        samples = weights[:, owner]  # (R, N)
        columns = [weighted_average_precision(labels[:, c], scores[:, c], samples) for c in range(labels.shape[1])]
        return mean_over_positive_classes(np.stack(columns, axis=1))

    per_class = named(predictions.target.classes, average_precision(labels, scores))
    detail = {
        "per_class": per_class,
        "absent_classes": [name for name, value in per_class.items() if value is None],
        "positives": dict(zip(predictions.target.classes, labels.sum(axis=0).tolist(), strict=True)),
        "test_frames": len(labels),
    }
    chunked = in_chunks(compute, len(labels))
    return [Measured("mean_average_precision", VARIANT, cases, chunked, primary=True, detail=detail)]

"""Scores of the critical view of safety."""

from evaluation.metrics.cvs_score.cvs_score import (
    CVSScore,
    average_precision,
    balanced_accuracy,
    binary_from_points,
    binary_from_raters,
    brier_score,
    f1_score,
    mean_over_criteria,
)

__all__ = [
    "CVSScore",
    "average_precision",
    "balanced_accuracy",
    "binary_from_points",
    "binary_from_raters",
    "brier_score",
    "f1_score",
    "mean_over_criteria",
]

"""Scores of skill ratings: rank correlation and mean absolute error."""

import numpy as np

from evaluation.metrics.skill_score import mean_absolute_error, mean_spearman, spearman
from evaluation.predictions import Predictions
from evaluation.scoring.measured import Measured, case_rows, named, weighted_mean


def score(predictions: Predictions) -> list[Measured]:
    """Spearman's rho, mean over criteria, and the error in rating points."""
    cases, owner = case_rows(predictions.cases)
    truth, rated = predictions.targets.astype(np.float64), predictions.scores.astype(np.float64)

    def rho(weights: np.ndarray) -> np.ndarray:
        drawn = (np.repeat(np.arange(len(owner)), row[owner].astype(np.int64)) for row in weights)
        return np.array([mean_spearman(truth[rows], rated[rows]) if len(rows) else np.nan for rows in drawn])

    errors = np.abs(truth - rated).mean(axis=1)
    criteria = predictions.target.classes
    return [
        Measured(
            "spearman",
            "mean over criteria whose truth varies; undefined for a constant prediction",
            cases,
            rho,
            primary=True,
            detail={"per_class": named(criteria, spearman(truth, rated)), "samples": len(truth)},
        ),
        Measured(
            "mean_absolute_error",
            "rating points, mean over criteria and samples",
            cases,
            lambda weights: weighted_mean(errors, weights[:, owner]),
            higher_is_better=False,
            detail={"per_class": named(criteria, mean_absolute_error(truth, rated))},
        ),
    ]

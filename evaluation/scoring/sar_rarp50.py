"""Scores of SAR-RARP50 gestures: the challenge's own, and those of any workflow."""

import dataclasses

import numpy as np

from evaluation.metrics.sar_rarp50_score import action_scores
from evaluation.predictions import Predictions
from evaluation.scoring import workflow
from evaluation.scoring.measured import Measured, case_rows, weighted_mean


def score(predictions: Predictions) -> list[Measured]:
    """sqrt(mean accuracy x mean F1@10) over videos first."""
    rows = predictions.sequences()
    cases, owner = case_rows([predictions.cases[each.start] for each in rows])
    by_video = np.array([action_scores(predictions.targets[each], predictions.predicted[each]) for each in rows])

    def compute(weights: np.ndarray) -> np.ndarray:
        return np.sqrt(weighted_mean(by_video, weights[:, owner]).prod(axis=1))

    variant = "sqrt(mean accuracy x mean F1@10), means over videos"
    challenge = Measured("sar_rarp50_score", variant, cases, compute, primary=True)
    return [challenge, *(dataclasses.replace(each, primary=False) for each in workflow.score(predictions))]

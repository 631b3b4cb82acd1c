"""Scores of PitVis steps: the challenge's own, and those of any workflow."""

import dataclasses

import numpy as np

from evaluation.metrics.pitvis_score import step_scores
from evaluation.predictions import Predictions
from evaluation.scoring import workflow
from evaluation.scoring.measured import Measured, case_rows, weighted_mean

_FIRST_STEP = -1  # the step id of class 0


def score(predictions: Predictions) -> list[Measured]:
    """(Macro F1 + edit score) / 2 of each video over the steps that the challenge scores, mean over videos, first."""
    rows = predictions.sequences()
    cases, owner = case_rows([predictions.cases[each.start] for each in rows])
    truth, called = predictions.targets + _FIRST_STEP, predictions.predicted + _FIRST_STEP
    by_video = np.array([step_scores(truth[each], called[each]).score for each in rows])
    variant = "(macro F1 + edit score) / 2 of each video, steps that the challenge leaves out dropped, mean over videos"
    challenge = Measured(
        "pitvis_score", variant, cases, lambda weights: weighted_mean(by_video, weights[:, owner]), primary=True
    )
    return [challenge, *(dataclasses.replace(each, primary=False) for each in workflow.score(predictions))]

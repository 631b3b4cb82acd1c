"""Scoring: one file per family of tasks, from predictions to the numbers that records hold."""

from collections.abc import Callable, Mapping

from evaluation.predictions import Predictions
from evaluation.scoring import classification, cvs, labels, pitvis, sar_rarp50, skill, triplet, workflow
from evaluation.scoring.measured import Measured

SCORERS: Mapping[str, Callable[[Predictions], list[Measured]]] = {
    "phase": workflow.score,
    "step": workflow.score,
    "gesture": workflow.score,
    "step_pitvis": pitvis.score,
    "gesture_sar_rarp50": sar_rarp50.score,
    "presence": labels.score,
    "triplet": triplet.score,
    "cvs": cvs.score,
    "motion": classification.score,
    "image_classification": classification.score,
    "procedure": labels.score,
    "skill": skill.score,
}


def score(predictions: Predictions) -> list[Measured]:
    """All measures of a task, the one it is ranked by first; scored as its name or else its family says."""
    scorer = SCORERS.get(predictions.task) or SCORERS[predictions.family]
    return sorted(scorer(predictions), key=lambda measured: not measured.primary)


__all__ = ["SCORERS", "Measured", "score"]

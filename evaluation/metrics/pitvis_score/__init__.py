"""Scores of the PitVis-2023 challenge."""

from evaluation.metrics.pitvis_score.pitvis_score import PitVisScore, StepScores, instrument_f1, step_scores

__all__ = ["PitVisScore", "StepScores", "instrument_f1", "step_scores"]

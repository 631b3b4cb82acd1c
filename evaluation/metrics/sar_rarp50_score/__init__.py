"""Scores of the SAR-RARP50 challenge."""

from evaluation.metrics.sar_rarp50_score.sar_rarp50_score import (
    ActionScores,
    SarRarp50Score,
    action_scores,
    geometric_score,
    mask_scores,
)

__all__ = ["ActionScores", "SarRarp50Score", "action_scores", "geometric_score", "mask_scores"]

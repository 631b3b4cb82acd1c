"""Scores of surgical skill."""

from evaluation.metrics.skill_score.skill_score import (
    SkillScore,
    average_ranks,
    level_f1,
    mean_absolute_error,
    mean_spearman,
    spearman,
)

__all__ = ["SkillScore", "average_ranks", "level_f1", "mean_absolute_error", "mean_spearman", "spearman"]

"""Multi-label mean average precision."""

from evaluation.metrics.mean_average_precision.mean_average_precision import (
    MeanAveragePrecision,
    average_precision,
    mean_over_positive_classes,
    weighted_average_precision,
)

__all__ = ["MeanAveragePrecision", "average_precision", "mean_over_positive_classes", "weighted_average_precision"]

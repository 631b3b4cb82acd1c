"""Average precision of action triplets and of their components."""

from evaluation.metrics.triplet_average_precision.triplet_average_precision import (
    CHOLECT50_NULL,
    CHOLECT50_TRIPLETS,
    TripletAveragePrecision,
    average_precision,
    average_precision_by_case,
    component_classes,
    component_values,
    mean_over_cases,
    mean_over_classes,
    top_k_accuracy,
)

__all__ = [
    "CHOLECT50_NULL",
    "CHOLECT50_TRIPLETS",
    "TripletAveragePrecision",
    "average_precision",
    "average_precision_by_case",
    "component_classes",
    "component_values",
    "mean_over_cases",
    "mean_over_classes",
    "top_k_accuracy",
]

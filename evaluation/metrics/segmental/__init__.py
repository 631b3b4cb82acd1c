"""Edit score, segmental F1 and over-segmentation of labeled timelines."""

from evaluation.metrics.segmental.segmental import (
    Counts,
    Segmental,
    Segments,
    edit_score,
    f1_counts,
    f1_from_counts,
    over_segmentation_counts,
    segments,
)

__all__ = [
    "Counts",
    "Segmental",
    "Segments",
    "edit_score",
    "f1_counts",
    "f1_from_counts",
    "over_segmentation_counts",
    "segments",
]

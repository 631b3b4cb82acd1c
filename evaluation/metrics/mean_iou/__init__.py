"""Mean intersection over union."""

from evaluation.metrics.mean_iou.mean_iou import (
    MeanIoU,
    confusion_matrix,
    iou_per_class,
    mean_iou,
    per_image_mean_iou,
)

__all__ = ["MeanIoU", "confusion_matrix", "iou_per_class", "mean_iou", "per_image_mean_iou"]

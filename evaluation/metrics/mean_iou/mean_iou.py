"""Mean intersection over union of semantic masks: numpy functions and the `evaluate` module over them."""

# One import per line: the import scanner of `evaluate` cannot read two on one.
import datasets
import evaluate
import numpy as np

VARIANT = "global confusion matrix, mean over classes present in the reference, background included"
VARIANT_PER_IMAGE = "mean over images of the mean over classes present in the image's reference, background included"
HIGHER_IS_BETTER = True

_DESCRIPTION = """
IoU_c = |P_c and G_c| / |P_c or G_c|, from one confusion matrix over the pixels of all images ("global"), averaged over
the classes that occur in the reference. Background is a class like any other. Pixels whose reference is `ignore_index`
count nowhere. A class that is only predicted, never in the reference, has no IoU of its own; its pixels still cost the
classes they were taken from.
"""
_CITATION = """
Everingham et al. (2010). The Pascal Visual Object Classes Challenge. IJCV 88.
"""
_INPUTS = """
predictions: list of 2-D masks of class ids.
references: list of 2-D masks of the same sizes.
num_classes: number of classes; ids are 0 .. num_classes - 1.
ignore_index: reference value that counts nowhere (default 255).
"""


def confusion_matrix(
    reference: np.ndarray, prediction: np.ndarray, num_classes: int, ignore_index: int = 255
) -> np.ndarray:
    """Pixel counts by (reference class, predicted class).

    Args:
        reference: integers of any shape, class ids or `ignore_index`.
        prediction: integers of the same shape, class ids.
        num_classes: K.
        ignore_index: reference value that is left out.

    Returns:
        int64 (K, K).

    Raises:
        ValueError: different shapes or an id outside 0 .. K - 1.
    """
    reference, prediction = np.asarray(reference), np.asarray(prediction)
    if reference.shape != prediction.shape:
        raise ValueError(f"reference {reference.shape} and prediction {prediction.shape} have different shapes")
    counted = reference != ignore_index
    true, predicted = reference[counted].astype(np.int64), prediction[counted].astype(np.int64)
    for noun, values in (("reference", true), ("prediction", predicted)):
        if values.size and (values.min() < 0 or values.max() >= num_classes):
            raise ValueError(f"the {noun} holds ids outside 0 to {num_classes - 1}")
    return np.bincount(true * num_classes + predicted, minlength=num_classes**2).reshape(num_classes, num_classes)


def iou_per_class(confusion: np.ndarray) -> np.ndarray:
    """IoU of each class; NaN for a class without reference pixels.

    Args:
        confusion: (..., K, K) counts by (reference, prediction).

    Returns:
        (..., K) float64.
    """
    counts = np.asarray(confusion, dtype=np.float64)
    both = np.diagonal(counts, axis1=-2, axis2=-1)
    in_reference = counts.sum(axis=-1)
    union = in_reference + counts.sum(axis=-2) - both
    return np.divide(both, union, out=np.full(both.shape, np.nan), where=in_reference > 0)


def mean_iou(confusion: np.ndarray) -> np.ndarray:
    """Mean IoU over the classes present in the reference; NaN where there is none.

    Args:
        confusion: (..., K, K) counts by (reference, prediction).

    Returns:
        (...) float64.
    """
    per_class = iou_per_class(confusion)
    defined = ~np.isnan(per_class)
    total = np.where(defined, per_class, 0.0).sum(axis=-1)
    count = defined.sum(axis=-1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def per_image_mean_iou(confusions: np.ndarray) -> float:
    """Mean over images of each image's own mean IoU; images without a labeled pixel are left out.

    Args:
        confusions: (N, K, K) counts, one matrix per image.

    Returns:
        The mean; NaN if no image has a labeled pixel.
    """
    values = mean_iou(confusions)
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


class MeanIoU(evaluate.Metric):
    """The `evaluate` module: see `_DESCRIPTION` for the formula and `_INPUTS` for the arguments of `compute`."""

    def _info(self) -> evaluate.MetricInfo:
        mask = datasets.Sequence(datasets.Sequence(datasets.Value("int64")))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": mask, "references": mask}),
        )

    def _compute(
        self, predictions: list[object], references: list[object], num_classes: int, ignore_index: int = 255
    ) -> dict[str, object]:
        matrices = np.stack(
            [
                confusion_matrix(np.asarray(reference), np.asarray(prediction), num_classes, ignore_index)
                for reference, prediction in zip(references, predictions, strict=True)
            ]
        )
        total = matrices.sum(axis=0)
        per_class = iou_per_class(total)
        return {
            "mean_iou": float(mean_iou(total)),
            "variant": VARIANT,
            "per_class": [None if np.isnan(value) else float(value) for value in per_class],
            "absent_classes": [int(index) for index in np.flatnonzero(np.isnan(per_class))],
            "per_image_mean_iou": per_image_mean_iou(matrices),
            "pixels": int(total.sum()),
        }

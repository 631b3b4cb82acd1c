"""Scores of the SAR-RARP50 challenge (actions, segmentation): numpy functions and the `evaluate` module over them."""

from collections.abc import Sequence
from typing import NamedTuple

# One import per line: the import scanner of `evaluate` cannot read two on one.
import datasets
import evaluate
import numpy as np
from scipy import ndimage

VARIANT = "actions: sqrt(mean accuracy x mean F1@10) over videos; masks: sqrt(mean IoU x mean NSD at 10 px) over videos"
HIGHER_IS_BETTER = True

NUM_ACTIONS = 8  # 0 (other) to 7, all scored
NUM_MASK_CLASSES = 9  # 1 to 9; 0 is background, not scored
OVERLAP = 0.10  # least IoU in time of a true positive
NSD_TOLERANCE = 10  # pixels

_DESCRIPTION = """
Actions, per video at 10 Hz: frame accuracy and segmental F1 at an IoU of 0.10 (each predicted segment takes the true
segment of its label with the highest IoU, once; class 0 is scored like any other). Score sqrt(A x F), A and F their
means over videos. Masks, per frame at 1 Hz and class 1 to 9: IoU and normalised surface dice (share of the boundary
pixels of truth and prediction that lie within 10 px of the other's boundary); a class in neither mask has 1 in both, a
class in one mask 0 in both, a missing prediction 0 throughout. Mean over classes, frames, videos; score sqrt(mean IoU x
mean NSD).
"""
_CITATION = """
Psychogyios et al. (2023). SAR-RARP50: Segmentation of surgical instrumentation and Action Recognition on Robot-Assisted
Radical Prostatectomy Challenge. arXiv:2401.00496. Published code: surgical-vision/SAR_RARP50-evaluation.
"""
_INPUTS = """
predictions: list of sequences of action ids 0 to 7, one per video, at 10 Hz.
references: list of sequences of action ids of the same lengths.
videos: list with the name of each video, no two alike.
mask_predictions: list (per video) of lists (per frame) of 2-D masks of class ids 0 to 9, None where there is no
    prediction (default: masks are not scored).
mask_references: the same for the truth, without None.
"""


class ActionScores(NamedTuple):
    """Frame accuracy and segmental F1@10 of one video, both in [0, 1]."""

    accuracy: float
    f1: float


def action_scores(reference: np.ndarray, prediction: np.ndarray) -> ActionScores:
    """Frame accuracy and segmental F1 = 2 TP / (2 TP + FP + FN) at an IoU of 0.10, no class left out.

    Args:
        reference: integers (N,), action ids.
        prediction: integers (N,), action ids.

    Returns:
        The scores; both are defined for every video.

    Raises:
        ValueError: no frames, other shapes or ids outside 0 .. 7.
    """
    reference, prediction = np.asarray(reference), np.asarray(prediction)
    if reference.shape != prediction.shape or reference.ndim != 1:
        raise ValueError(f"actions {reference.shape} and predicted actions {prediction.shape} must be of one length")
    if len(reference) == 0:
        raise ValueError("there are no frames")
    for noun, labels in (("reference", reference), ("prediction", prediction)):
        if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= NUM_ACTIONS:
            raise ValueError(f"the {noun} holds other actions than the ids 0 to {NUM_ACTIONS - 1}")
    names, starts, ends = _segments(reference)
    found = np.zeros(len(names), dtype=bool)
    predicted = list(zip(*_segments(prediction), strict=True))
    for name, start, end in predicted:
        both = np.minimum(ends, end) - np.maximum(starts, start)
        iou = np.where(names == name, np.maximum(both, 0) / (np.maximum(ends, end) - np.minimum(starts, start)), 0.0)
        if iou.max() >= OVERLAP:
            found[iou.argmax()] = True  # found twice, it counts once: the second is a false positive
    return ActionScores(float((reference == prediction).mean()), float(2 * found.sum() / (len(names) + len(predicted))))


def mask_scores(
    reference: np.ndarray, prediction: np.ndarray | None, tolerance: float = NSD_TOLERANCE
) -> tuple[np.ndarray, np.ndarray]:
    """IoU and normalised surface dice of the classes 1 to 9 in one frame.

    Boundaries are the pixels of a mask with a 4-neighbor outside of it (beyond the edge of the frame is outside).
    NSD = (boundary pixels of the truth within the tolerance of the prediction's boundary + those of the prediction
    within it of the truth's) / all boundary pixels of both.

    Args:
        reference: integers (H, W), class ids 0 to 9.
        prediction: integers (H, W), class ids 0 to 9; None for a missing prediction, which has 0 everywhere.
        tolerance: pixels, inclusive.

    Returns:
        IoU and NSD, float64 (9,). 1 for a class that neither has, 0 for one that only one has.

    Raises:
        ValueError: other shapes or ids outside 0 .. 9.
    """
    reference = np.asarray(reference)
    sides = [("reference", reference)] if prediction is None else [("reference", reference), ("mask", prediction)]
    for noun, mask in sides:
        if np.ndim(mask) != 2 or np.size(mask) == 0 or np.min(mask) < 0 or np.max(mask) > NUM_MASK_CLASSES:
            raise ValueError(f"the {noun} is no picture of class ids 0 to {NUM_MASK_CLASSES}")
    if prediction is None:
        return np.zeros(NUM_MASK_CLASSES), np.zeros(NUM_MASK_CLASSES)
    if reference.shape != np.shape(prediction):
        raise ValueError(f"reference {reference.shape} and mask {np.shape(prediction)} have different sizes")
    iou, nsd = np.ones(NUM_MASK_CLASSES), np.ones(NUM_MASK_CLASSES)
    for index in range(NUM_MASK_CLASSES):
        true, predicted = reference == index + 1, np.asarray(prediction) == index + 1
        either = true | predicted
        if either.any():
            iou[index] = (true & predicted).sum() / either.sum()
            box = _box(either)
            nsd[index] = _surface_dice(true[box], predicted[box], tolerance)
    return iou, nsd


def geometric_score(first: Sequence[float], second: Sequence[float]) -> float:
    """Square root of the product of two means over videos, the score of both tasks; NaN without videos.

    To bootstrap by case, draw videos with replacement and apply this again: it is no mean of values by video.

    Args:
        first: accuracy or mean IoU of each video.
        second: F1@10 or mean NSD of each video.
    """
    return float(np.sqrt(np.mean(first) * np.mean(second))) if len(first) else float("nan")


def _segments(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, starts and exclusive ends of the runs of equal labels."""
    edges = np.flatnonzero(labels[1:] != labels[:-1]) + 1
    starts = np.append(0, edges)
    return labels[starts], starts, np.append(edges, len(labels))


def _box(mask: np.ndarray) -> tuple[slice, slice]:
    """The smallest box around a mask: distances within it are those of the whole frame."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _surface_dice(true: np.ndarray, predicted: np.ndarray, tolerance: float) -> float:
    if not true.any() or not predicted.any():
        return 0.0
    edges = [mask ^ ndimage.binary_erosion(mask) for mask in (true, predicted)]
    near = sum((ndimage.distance_transform_edt(~other)[own] <= tolerance).sum() for own, other in (edges, edges[::-1]))
    return float(near / (edges[0].sum() + edges[1].sum()))


class SarRarp50Score(evaluate.Metric):
    """The `evaluate` module: see `_DESCRIPTION` for the formula and `_INPUTS` for the arguments of `compute`."""

    def _info(self) -> evaluate.MetricInfo:
        actions = datasets.Sequence(datasets.Value("int64"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": actions, "references": actions, "videos": datasets.Value("string")}
            ),
        )

    def _compute(
        self,
        predictions: list[list[int]],
        references: list[list[int]],
        videos: list[str],
        mask_predictions: Sequence[Sequence[np.ndarray | None]] | None = None,
        mask_references: Sequence[Sequence[np.ndarray]] | None = None,
    ) -> dict[str, object]:
        if not videos:
            raise ValueError("there are no videos")
        if len(set(videos)) != len(videos):
            raise ValueError("two videos have the same name")
        if (mask_predictions is None) != (mask_references is None):
            raise ValueError("masks need both mask_predictions and mask_references")
        for masks in (mask_predictions, mask_references):
            if masks is not None and len(masks) != len(videos):
                raise ValueError(f"masks of {len(masks)} videos, but actions of {len(videos)}")
        rows: dict[str, dict[str, float | None]] = {}
        for index, video in enumerate(videos):
            try:
                actions = action_scores(
                    np.array(references[index], dtype=np.int64), np.array(predictions[index], dtype=np.int64)
                )
                rows[video] = {"accuracy": actions.accuracy, "f1@10": actions.f1, "mean_iou": None, "mean_nsd": None}
                if mask_predictions is not None and mask_references is not None:
                    iou, nsd = _video_mask_scores(mask_references[index], mask_predictions[index])
                    rows[video] |= {"mean_iou": iou, "mean_nsd": nsd}
            except ValueError as error:
                raise ValueError(f"video {video!r}: {error}") from None
        columns = {
            name: [value for row in rows.values() if (value := row[name]) is not None] for name in rows[videos[0]]
        }
        action_score = geometric_score(columns["accuracy"], columns["f1@10"])
        return {
            "sar_rarp50_score": action_score,
            "variant": VARIANT,
            "action_score": action_score,
            "segmentation_score": geometric_score(columns["mean_iou"], columns["mean_nsd"]),
            **{name: float(np.mean(values)) if values else float("nan") for name, values in columns.items()},
            "per_video": rows,
            "videos": len(videos),
        }


def _video_mask_scores(
    references: Sequence[np.ndarray], predictions: Sequence[np.ndarray | None]
) -> tuple[float, float]:
    """Mean over frames and classes of IoU and of NSD."""
    if len(references) == 0 or len(references) != len(predictions):
        raise ValueError(f"{len(references)} masks, but {len(predictions)} predicted; give None where one is missing")
    values = [mask_scores(true, mask) for true, mask in zip(references, predictions, strict=True)]
    iou, nsd = (np.mean([pair[side] for pair in values]) for side in (0, 1))
    return float(iou), float(nsd)

"""Segmental scores of a labeled timeline (edit, F1@k, over-segmentation): numpy functions and the `evaluate` module."""

from collections.abc import Sequence
from typing import NamedTuple

# One import per line: the import scanner of `evaluate` cannot read two on one.
import datasets
import evaluate
import numpy as np

VARIANT = "mean over videos"
VARIANT_POOLED = "counts of all videos summed before the quotient"
HIGHER_IS_BETTER = True  # not so over_segmentation_error (0 is best) and over_segmentation_ratio (1 is best)

_DESCRIPTION = """
Segments are the runs of equal labels; those of background classes are dropped, and what remains is not joined.
Edit score: 1 - Levenshtein distance of the two sequences of segment labels / length of the longer one.
F1@k: each predicted segment, in order of time, takes the true segment of its label with the highest IoU in time; it is
a true positive if that IoU is at least k / 100 and the true segment was not taken before, else a false positive; true
segments that nobody took are false negatives; F1 = 2 TP / (2 TP + FP + FN).
Over-segmentation ratio: predicted segments / true segments. Over-segmentation error: fragments beyond the first that
the true segments are cut into (predicted segments of the same label that overlap it) / true segments.
"""
_CITATION = """
Lea et al. (2017). Temporal Convolutional Networks for Action Segmentation and Detection. CVPR.
Abu Farha and Gall (2019). MS-TCN: Multi-Stage Temporal Convolutional Network for Action Segmentation. CVPR (eval.py).
"""
_INPUTS = """
predictions: list of sequences of class ids, one per video.
references: list of sequences of the same lengths.
videos: list with the name of each video, no two alike.
background_classes: ids whose segments are dropped on both sides (default: none).
thresholds: the k of F1@k, in per cent, above 0 (default: 10, 25, 50).
"""


class Segments(NamedTuple):
    """Runs of equal labels: int64 (S,) labels, and starts and ends in frames, ends exclusive."""

    labels: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


class Counts(NamedTuple):
    """True positives, false positives and false negatives among segments."""

    true_positives: int
    false_positives: int
    false_negatives: int


def segments(labels: np.ndarray, background_classes: Sequence[int] = ()) -> Segments:
    """The runs of equal labels, without those of background classes; neighbors of a dropped run are not joined.

    Args:
        labels: integers (N,), class ids.
        background_classes: ids that make no segment.

    Returns:
        S segments in order of time.

    Raises:
        ValueError: no frames, or labels that are no sequence of integers.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or len(labels) == 0:
        raise ValueError("there are no frames" if labels.size == 0 else f"labels {labels.shape} are no sequence")
    if labels.dtype.kind not in "iu":
        raise ValueError(f"the labels are {labels.dtype}; class ids are integers")
    edges = np.flatnonzero(labels[1:] != labels[:-1]) + 1
    starts, ends = np.append(0, edges), np.append(edges, len(labels))
    kept = ~np.isin(labels[starts], list(background_classes))
    return Segments(labels[starts][kept].astype(np.int64), starts[kept], ends[kept])


def edit_score(reference: np.ndarray, prediction: np.ndarray, background_classes: Sequence[int] = ()) -> float:
    """1 - Levenshtein distance between the sequences of segment labels / length of the longer one.

    MS-TCN prints it times 100. Only the order of the segments matters, not their length.

    Args:
        reference: integers (N,), class ids.
        prediction: integers (N,), class ids.
        background_classes: ids whose segments are dropped.

    Returns:
        The score in [0, 1]; NaN if neither side has a segment.

    Raises:
        ValueError: no frames, other shapes or no integers.
    """
    true, predicted = _both(reference, prediction, background_classes)
    longer = max(len(true.labels), len(predicted.labels))
    if longer == 0:
        return float("nan")
    return 1.0 - _levenshtein(true.labels, predicted.labels) / longer


def f1_counts(
    reference: np.ndarray, prediction: np.ndarray, threshold: float, background_classes: Sequence[int] = ()
) -> Counts:
    """Segments found, invented and missed at an IoU threshold, matched as MS-TCN does it.

    Each predicted segment, in order of time, looks at the true segment of its label with the highest IoU (the first of
    equals) and only at that one: if it is taken already, the prediction is a false positive.

    Args:
        reference: integers (N,), class ids.
        prediction: integers (N,), class ids.
        threshold: IoU in (0, 1].
        background_classes: ids whose segments are dropped.

    Returns:
        The counts.

    Raises:
        ValueError: a threshold outside (0, 1], no frames, other shapes or no integers.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"the IoU threshold is {threshold}; it lies above 0 and at most at 1")
    true, predicted = _both(reference, prediction, background_classes)
    iou = _iou(true, predicted)  # (predicted, true)
    taken = np.zeros(len(true.labels), dtype=bool)
    for row in iou if len(true.labels) else ():
        best = row.argmax()
        if row[best] >= threshold:
            taken[best] = True
    found = int(taken.sum())  # each true segment is found once; every further match is a false positive
    return Counts(found, len(predicted.labels) - found, len(taken) - found)


def f1_from_counts(true_positives: float, false_positives: float, false_negatives: float) -> float:
    """F1 = 2 TP / (2 TP + FP + FN), equal to 2PR / (P + R); NaN if all are 0."""
    total = 2 * true_positives + false_positives + false_negatives
    return float(2 * true_positives / total) if total else float("nan")


def over_segmentation_counts(
    reference: np.ndarray, prediction: np.ndarray, background_classes: Sequence[int] = ()
) -> tuple[int, int, int]:
    """Predicted segments, surplus fragments and true segments of a video.

    Args:
        reference: integers (N,), class ids.
        prediction: integers (N,), class ids.
        background_classes: ids whose segments are dropped.

    Returns:
        Number of predicted segments; number of predicted segments of the same label that overlap a true segment beyond
        its first, summed over true segments; number of true segments. The second by the third is the over-segmentation
        error, the first by the third the over-segmentation ratio.

    Raises:
        ValueError: no frames, other shapes or no integers.
    """
    true, predicted = _both(reference, prediction, background_classes)
    fragments = (_iou(true, predicted) > 0).sum(axis=0)
    return len(predicted.labels), int(np.maximum(fragments - 1, 0).sum()), len(true.labels)


def _both(
    reference: np.ndarray, prediction: np.ndarray, background_classes: Sequence[int]
) -> tuple[Segments, Segments]:
    if np.shape(reference) != np.shape(prediction):
        raise ValueError(f"reference {np.shape(reference)} and prediction {np.shape(prediction)} have different shapes")
    return segments(reference, background_classes), segments(prediction, background_classes)


def _iou(true: Segments, predicted: Segments) -> np.ndarray:
    """IoU in time of every predicted with every true segment of the same label: float64 (predicted, true)."""
    both = np.minimum(predicted.ends[:, None], true.ends) - np.maximum(predicted.starts[:, None], true.starts)
    either = np.maximum(predicted.ends[:, None], true.ends) - np.minimum(predicted.starts[:, None], true.starts)
    return np.where(predicted.labels[:, None] == true.labels, np.maximum(both, 0) / either, 0.0)


def _levenshtein(one: np.ndarray, other: np.ndarray) -> int:
    """Least number of insertions, deletions and substitutions that turn `one` into `other`."""
    row = np.arange(len(other) + 1)
    steps = np.arange(len(other) + 1)
    for index, label in enumerate(one):
        below = np.append(index + 1, np.minimum(row[1:] + 1, row[:-1] + (other != label)))
        # The best chain of insertions from the left: min over j' <= j of below[j'] + (j - j').
        row = np.minimum.accumulate(below - steps) + steps
    return int(row[-1])


def _quotient(above: float, below: float) -> float:
    return float(above / below) if below else float("nan")


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")


class Segmental(evaluate.Metric):
    """The `evaluate` module: see `_DESCRIPTION` for the formula and `_INPUTS` for the arguments of `compute`."""

    def _info(self) -> evaluate.MetricInfo:
        labels = datasets.Sequence(datasets.Value("int64"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": labels, "references": labels, "videos": datasets.Value("string")}
            ),
        )

    def _compute(
        self,
        predictions: list[list[int]],
        references: list[list[int]],
        videos: list[str],
        background_classes: Sequence[int] = (),
        thresholds: Sequence[int] = (10, 25, 50),
    ) -> dict[str, object]:
        if not videos:
            raise ValueError("there are no videos")
        if len(set(videos)) != len(videos):
            raise ValueError("two videos have the same name")
        edits: dict[str, float] = {}
        counts: dict[str, dict[str, Counts]] = {}
        overs: dict[str, tuple[int, int, int]] = {}
        for video, reference, prediction in zip(videos, references, predictions, strict=True):
            true, predicted = (np.array(labels, dtype=np.int64) for labels in (reference, prediction))
            try:
                edits[video] = edit_score(true, predicted, background_classes)
                counts[video] = {f"f1@{k}": f1_counts(true, predicted, k / 100, background_classes) for k in thresholds}
                overs[video] = over_segmentation_counts(true, predicted, background_classes)
            except ValueError as error:
                raise ValueError(f"video {video!r}: {error}") from None
        by_video = {
            video: {
                "edit": edits[video],
                **{name: f1_from_counts(*count) for name, count in counts[video].items()},
                "over_segmentation_ratio": _quotient(overs[video][0], overs[video][2]),
                "over_segmentation_error": _quotient(overs[video][1], overs[video][2]),
            }
            for video in videos
        }
        summed = {f"f1@{k}": np.sum([counts[video][f"f1@{k}"] for video in videos], axis=0) for k in thresholds}
        total = np.sum(list(overs.values()), axis=0)
        names = list(by_video[videos[0]])
        return {
            "edit": _mean(list(edits.values())),
            "variant": f"{VARIANT}; background classes {sorted(background_classes) or 'none'}",
            "video_mean": {name: _mean([row[name] for row in by_video.values()]) for name in names},
            "pooled": {
                **{name: f1_from_counts(*map(int, count)) for name, count in summed.items()},
                "over_segmentation_ratio": _quotient(total[0], total[2]),
                "over_segmentation_error": _quotient(total[1], total[2]),
            },
            "averaged": {name: sum(not np.isnan(row[name]) for row in by_video.values()) for name in names},
            "per_video": {
                video: {name: None if np.isnan(value) else value for name, value in row.items()}
                for video, row in by_video.items()
            },
            "counts": {
                video: {
                    **{name: list(count) for name, count in counts[video].items()},
                    "segments": [overs[video][0], overs[video][2]],
                    "fragments": overs[video][1],
                }
                for video in videos
            },
            "videos": len(videos),
        }

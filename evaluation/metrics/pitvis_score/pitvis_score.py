"""Scores of the PitVis-2023 challenge (steps, instruments, both): numpy functions and the `evaluate` module."""

from collections.abc import Sequence
from typing import NamedTuple

# One import per line: the import scanner of `evaluate` cannot read two on one.
import datasets
import evaluate
import numpy as np

VARIANT = "per video, then mean over videos; steps (macro F1 + edit) / 2, instruments weighted F1"
HIGHER_IS_BETTER = True

IGNORED_STEPS = (-1, 11, 13)  # out of the patient, gasket seal construct, nasal packing: frames of the truth left out
NUM_INSTRUMENTS = 19  # 0 (none or hidden) to 18; -1 is out of the patient, -2 no second instrument
MODES = ("intended", "published")

_DESCRIPTION = """
Steps, per video: frames whose true step is -1, 11 or 13 are cut out of truth and prediction, and the rest is joined.
Macro F1 over the steps that then occur in truth or prediction, edit score 1 - Levenshtein(runs of the prediction, runs
of the truth) / length of the longer, score = (F1 + edit) / 2. Instruments, per video: F1 of each of the classes 0 to 18
over all frames (multi-label, at most two per frame), mean weighted by the true frames of the class. Both: mean of the
two. Then mean over videos.
"""
_CITATION = """
Das et al. (2024). PitVis-2023 Challenge: Workflow Recognition in videos of Endoscopic Pituitary Surgery.
arXiv:2409.01184. Published code: dreets/pitvis, helper_scripts/evaluation_{steps,instruments,multitask}.py.
"""
_INPUTS = """
predictions: list of sequences of step ids, one per video, at 1 Hz.
references: list of sequences of step ids of the same lengths.
videos: list with the name of each video, no two alike.
instrument_predictions: list (per video) of lists (per frame) of at most two instrument ids (default: not scored).
instrument_references: the same for the truth.
mode: "intended" (default) compares instruments class by class; "published" as the published code aligns its columns.
"""


class StepScores(NamedTuple):
    """Scores of the steps of one video in [0, 1]; all NaN if the truth has no scored frame."""

    f1: float
    edit: float
    score: float


def step_scores(reference: np.ndarray, prediction: np.ndarray) -> StepScores:
    """Macro F1, edit score and their mean over the frames whose true step is scored.

    A step that is only predicted (11 and 13 too) counts as F1 0, as in scikit-learn's `f1_score(average="macro")`.

    Args:
        reference: integers (N,), step ids -1 to 14.
        prediction: integers (N,), step ids.

    Returns:
        The scores.

    Raises:
        ValueError: no frames, other shapes or no integers.
    """
    reference, prediction = np.asarray(reference), np.asarray(prediction)
    if reference.shape != prediction.shape or reference.ndim != 1:
        raise ValueError(f"steps {reference.shape} and predicted steps {prediction.shape} must be of one length")
    if len(reference) == 0:
        raise ValueError("there are no frames")
    if reference.dtype.kind not in "iu" or prediction.dtype.kind not in "iu":
        raise ValueError(f"steps are {reference.dtype} and {prediction.dtype}; ids are integers")
    kept = ~np.isin(reference, IGNORED_STEPS)
    true, predicted = reference[kept], prediction[kept]
    if len(true) == 0:
        return StepScores(float("nan"), float("nan"), float("nan"))
    hits = [
        2 * np.sum((true == step) & (predicted == step)) / (np.sum(true == step) + np.sum(predicted == step))
        for step in np.union1d(true, predicted)
    ]
    true_runs, predicted_runs = _runs(true), _runs(predicted)
    edit = 1.0 - _levenshtein(true_runs, predicted_runs) / max(len(true_runs), len(predicted_runs))
    return StepScores(float(np.mean(hits)), edit, (float(np.mean(hits)) + edit) / 2)


def instrument_f1(
    reference: Sequence[Sequence[int]], prediction: Sequence[Sequence[int]], mode: str = "intended"
) -> float:
    """F1 of the instrument classes 0 to 18, weighted by their true frames.

    -1 and -2 are no classes: a frame out of the patient has no true instrument, and one predicted there is wrong.

    Args:
        reference: (N, up to 2) instrument ids of each frame.
        prediction: (N, up to 2) instrument ids of each frame; none is an empty list.
        mode: "intended" compares each class with itself. "published" orders the columns of truth and prediction as the
            published code does: the classes that occur in it, then those that do not, both ascending. Where truth and
            prediction of a video hold different classes, it compares one class with another.

    Returns:
        The weighted mean; NaN if the truth has no instrument.

    Raises:
        ValueError: an unknown mode, no frames, other lengths, more than two ids or an unknown id in a frame.
    """
    if mode not in MODES:
        raise ValueError(f"there is no mode {mode!r}; there are {' and '.join(MODES)}")
    if len(reference) != len(prediction):
        raise ValueError(f"{len(reference)} frames with instruments, but {len(prediction)} predicted")
    if len(reference) == 0:
        raise ValueError("there are no frames with instruments")
    true, predicted = _multi_hot(reference), _multi_hot(prediction)
    if mode == "published":
        true, predicted = (hot[:, np.argsort(~hot.any(axis=0), kind="stable")] for hot in (true, predicted))
    support, total = true.sum(axis=0), true.sum(axis=0) + predicted.sum(axis=0)
    f1 = np.divide(2 * (true & predicted).sum(axis=0), total, out=np.zeros(NUM_INSTRUMENTS), where=total > 0)
    return float((f1 * support).sum() / support.sum()) if support.any() else float("nan")


def _multi_hot(frames: Sequence[Sequence[int]]) -> np.ndarray:
    """Ids per frame -> bool (N, 19)."""
    hot = np.zeros((len(frames), NUM_INSTRUMENTS), dtype=bool)
    for index, ids in enumerate(frames):
        if len(ids) > 2:
            raise ValueError(f"frame {index} has {len(ids)} instruments; there are at most two")
        for instrument in ids:
            if not -2 <= instrument < NUM_INSTRUMENTS:
                raise ValueError(f"frame {index} has instrument {instrument}; ids are -2 to {NUM_INSTRUMENTS - 1}")
            if instrument >= 0:
                hot[index, instrument] = True
    return hot


def _runs(labels: np.ndarray) -> np.ndarray:
    return labels[np.append(True, labels[1:] != labels[:-1])]


def _levenshtein(one: np.ndarray, other: np.ndarray) -> int:
    """Least number of insertions, deletions and substitutions that turn `one` into `other`."""
    row = np.arange(len(other) + 1)
    steps = np.arange(len(other) + 1)
    for index, label in enumerate(one):
        below = np.append(index + 1, np.minimum(row[1:] + 1, row[:-1] + (other != label)))
        # The best chain of insertions from the left: min over j' <= j of below[j'] + (j - j').
        row = np.minimum.accumulate(below - steps) + steps
    return int(row[-1])


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")


class PitVisScore(evaluate.Metric):
    """The `evaluate` module: see `_DESCRIPTION` for the formula and `_INPUTS` for the arguments of `compute`."""

    def _info(self) -> evaluate.MetricInfo:
        steps = datasets.Sequence(datasets.Value("int64"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": steps, "references": steps, "videos": datasets.Value("string")}),
        )

    def _compute(
        self,
        predictions: list[list[int]],
        references: list[list[int]],
        videos: list[str],
        instrument_predictions: Sequence[Sequence[Sequence[int]]] | None = None,
        instrument_references: Sequence[Sequence[Sequence[int]]] | None = None,
        mode: str = "intended",
    ) -> dict[str, object]:
        if not videos:
            raise ValueError("there are no videos")
        if len(set(videos)) != len(videos):
            raise ValueError("two videos have the same name")
        if (instrument_predictions is None) != (instrument_references is None):
            raise ValueError("instruments need both instrument_predictions and instrument_references")
        for instruments in (instrument_predictions, instrument_references):
            if instruments is not None and len(instruments) != len(videos):
                raise ValueError(f"instruments of {len(instruments)} videos, but steps of {len(videos)}")
        rows: dict[str, dict[str, float]] = {}
        for index, video in enumerate(videos):
            try:
                steps = step_scores(
                    np.array(references[index], dtype=np.int64), np.array(predictions[index], dtype=np.int64)
                )
                instruments_f1 = float("nan")
                if instrument_predictions is not None and instrument_references is not None:
                    instruments_f1 = instrument_f1(instrument_references[index], instrument_predictions[index], mode)
            except ValueError as error:
                raise ValueError(f"video {video!r}: {error}") from None
            rows[video] = {
                "steps": steps.score,
                "steps_f1": steps.f1,
                "steps_edit": steps.edit,
                "instruments": instruments_f1,
                "multitask": (steps.score + instruments_f1) / 2,
            }
        names = list(rows[videos[0]])
        return {
            "pitvis_score": _mean([row["steps"] for row in rows.values()]),
            "variant": f"{VARIANT} (mode {mode})",
            **{name: _mean([row[name] for row in rows.values()]) for name in names},
            "averaged": {name: sum(not np.isnan(row[name]) for row in rows.values()) for name in names},
            "per_video": {
                video: {name: None if np.isnan(value) else value for name, value in row.items()}
                for video, row in rows.items()
            },
            "videos": len(videos),
        }

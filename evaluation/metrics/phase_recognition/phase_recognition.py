"""Phase recognition by video, strict and with relaxed boundaries: numpy functions and the `evaluate` module."""

import math
from collections.abc import Sequence
from typing import NamedTuple

# One import per line: the import scanner of `evaluate` cannot read two on one.
import datasets
import evaluate
import numpy as np

VARIANT = "accuracy: mean over videos; per phase: mean over the videos whose truth has it, then mean over phases"
VARIANT_VIDEO = "mean over the phases of each video's truth, then mean over videos"
HIGHER_IS_BETTER = True

MODES = ("intended", "matlab")
METRICS = ("precision", "recall", "jaccard", "f1")

# Offsets (predicted minus true phase id) that the published code accepts late (at the start of a true segment) and
# early (at its end), for phases that it treats apart; all others: late -1, early +1. By number of phases: 7 is
# Evaluate.m (Cholec80), 8 is Evaluate_m2cai.m. Phases count from 0 here and from 1 there.
MATLAB_OFFSETS = {
    7: {3: ((-1,), (1, 2)), 4: ((-1,), (1, 2)), 5: ((-1, -2), (1, 2)), 6: ((-1, -2), (1, 2))},
    8: {4: ((-1,), (1, 2)), 5: ((-1,), (1, 2)), 6: ((-1, -2), (1, 2)), 7: ((-1, -2), (1, 2))},
}

_DESCRIPTION = """
In each video, for each phase p: G frames of p in the truth, P frames predicted as p, C frames whose prediction is
accepted. accuracy |C| / N, precision |C and P| / |P|, recall |C and G| / |G|, Jaccard |C and (G or P)| / |G or P|, F1
2PR / (P + R). Strict: C holds the frames where prediction and truth agree. Relaxed, mode "intended": within the
tolerance after a true transition the phase before it is accepted too, and within the tolerance before one the phase
after it. Mode "matlab": what the published code does, bugs included (see the card). Undefined values are NaN and take
part in no mean.
"""
_CITATION = """
Twinanda et al. (2017). EndoNet: A Deep Architecture for Recognition Tasks on Laparoscopic Videos. IEEE TMI 36(1).
Published code: YuemingJin/TMRNet, code/eval/result/matlab-eval (Evaluate.m, Evaluate_m2cai.m, Main_m2cai.m).
Funke, Rivoir and Speidel (2023). Metrics Matter in Surgical Phase Recognition. arXiv:2305.13961.
"""
_INPUTS = """
predictions: list of sequences of phase ids, one per video, at `fps`.
references: list of sequences of the same lengths; ids are 0 .. num_phases - 1.
videos: list with the name of each video, no two alike.
num_phases: number of phases.
fps: labels per second, one figure or one for each video (1 for Cholec80 sampled at 1 Hz, 25 for its own frames).
tolerance_seconds: for the relaxed scores (default 10).
mode: "intended" (default) or "matlab".
"""


class VideoScores(NamedTuple):
    """Scores of one video: accuracy in [0, 1], and float64 (K,) of each phase, NaN where undefined."""

    accuracy: float
    precision: np.ndarray
    recall: np.ndarray
    jaccard: np.ndarray
    f1: np.ndarray


def accepted_frames(
    reference: np.ndarray,
    prediction: np.ndarray,
    num_phases: int,
    fps: float,
    tolerance_seconds: float = 10.0,
    mode: str = "intended",
) -> np.ndarray:
    """Frames whose prediction counts as correct; with a tolerance of 0 those where it equals the truth.

    A true segment of n frames has t = min(n, tolerance_seconds * fps, rounded up) frames at each end that are relaxed:
    those less than the tolerance away from the transition.

    - intended: the first t frames accept the phase of the segment before, the last t that of the segment after.
    - matlab: the first t frames accept prediction - truth = -1; then the mask "early transition" of the last t frames
      (prediction - truth = +1) is applied to the first t, as in the published code. `MATLAB_OFFSETS` has more offsets.

    Args:
        reference: integers (N,), phase ids.
        prediction: integers (N,), phase ids.
        num_phases: K.
        fps: labels per second.
        tolerance_seconds: at least 0.
        mode: "intended" or "matlab".

    Returns:
        bool (N,).

    Raises:
        ValueError: no frames, other shapes, ids outside 0 .. K - 1, a bad fps, tolerance or mode; in mode matlab also
            another number of phases than 7 or 8, or a tolerance that is no whole number of frames.
    """
    reference, prediction = _checked(reference, prediction, num_phases)
    relaxed = _relaxed_frames(fps, tolerance_seconds, mode, num_phases)
    edges = np.flatnonzero(np.diff(reference)) + 1
    starts, ends = np.append(0, edges), np.append(edges, len(reference))
    accepted = prediction == reference
    for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
        t = min(relaxed, end - start)
        if mode == "matlab":
            late, early = MATLAB_OFFSETS[num_phases].get(int(reference[start]), ((-1,), (1,)))
            difference = prediction[start:end] - reference[start:end]
            difference[:t][np.isin(difference[:t], late)] = 0
            # Sic: the mask is made from the last t frames and used on the first t.
            difference[:t][np.isin(difference[len(difference) - t :], early)] = 0
            accepted[start:end] = difference == 0
            continue
        if index > 0:
            accepted[start : start + t] |= prediction[start : start + t] == reference[start - 1]
        if index < len(starts) - 1:
            accepted[end - t : end] |= prediction[end - t : end] == reference[end]
    return accepted


def video_scores(
    reference: np.ndarray,
    prediction: np.ndarray,
    num_phases: int,
    fps: float,
    tolerance_seconds: float = 10.0,
    mode: str = "intended",
) -> VideoScores:
    """Accuracy of a video, and precision, recall, Jaccard and F1 of each phase.

    A phase that the truth lacks is NaN in all four, even where it was predicted: those frames cost the accuracy and the
    recall of the phases they were taken from. A phase that the truth has and the prediction lacks: precision NaN
    (0 / 0), F1 0, recall and Jaccard as their formulas say (strict: 0).

    In mode matlab the accepted frames of G or P stand above |P| and |G| as well, so precision and recall can exceed 1
    (infinite where P is empty) and are clipped to 1, as the published code does before it averages.

    Args:
        reference: integers (N,), phase ids.
        prediction: integers (N,), phase ids.
        num_phases: K.
        fps: labels per second.
        tolerance_seconds: 0 for strict scores.
        mode: "intended" or "matlab".

    Returns:
        The scores.

    Raises:
        ValueError: as `accepted_frames`.
    """
    accepted = accepted_frames(reference, prediction, num_phases, fps, tolerance_seconds, mode)
    phases = np.arange(num_phases)[:, None]
    true, predicted = np.asarray(reference) == phases, np.asarray(prediction) == phases  # (K, N)
    either = (true | predicted).sum(axis=1)
    hits = ((true | predicted) & accepted).sum(axis=1)
    present = true.any(axis=1)
    hits_predicted, hits_true = (
        (hits, hits) if mode == "matlab" else ((predicted & accepted).sum(1), (true & accepted).sum(1))
    )
    precision = _ratio(hits_predicted, predicted.sum(axis=1), present)
    if mode == "matlab":
        precision[present & ~predicted.any(axis=1) & (hits > 0)] = 1.0  # Inf, clipped
    recall = _ratio(hits_true, true.sum(axis=1), present)
    precision, recall = np.minimum(precision, 1.0), np.minimum(recall, 1.0)
    counted = np.where(np.isnan(precision), 0.0, precision)
    f1 = _ratio(2 * counted * recall, counted + recall, present)
    f1[present & (counted + recall == 0)] = 0.0
    return VideoScores(float(accepted.mean()), precision, recall, _ratio(hits, either, present), f1)


def phase_mean(values: np.ndarray, skip_absent: bool = True) -> float:
    """Mean over videos for each phase, then mean over phases: the order of the published Cholec80 code.

    To bootstrap by case, draw rows of `values` with replacement and apply this again.

    Args:
        values: (V, K) scores, NaN where undefined.
        skip_absent: leave out phases without any value. The published code does so for precision only; its Jaccard and
            recall become NaN.

    Returns:
        The mean; NaN if nothing is defined.
    """
    per_phase = _nanmean(np.asarray(values, dtype=np.float64).T)
    return float(_nanmean(per_phase) if skip_absent else per_phase.mean())


def video_mean(values: np.ndarray) -> float:
    """Mean over the phases of each video, then mean over videos; NaN if nothing is defined.

    Args:
        values: (V, K) scores, NaN where undefined.
    """
    return float(_nanmean(_nanmean(np.asarray(values, dtype=np.float64))))


def macro_f1(reference: np.ndarray, prediction: np.ndarray, num_phases: int) -> float:
    """Strict F1 of a video, mean over the phases of its truth or its prediction: one only predicted counts as 0.

    This is `sklearn.metrics.f1_score(average="macro")`, which other papers report; `video_scores` leaves phases out
    that the truth lacks.

    Args:
        reference: integers (N,), phase ids.
        prediction: integers (N,), phase ids.
        num_phases: K.

    Raises:
        ValueError: no frames, other shapes or ids outside 0 .. K - 1.
    """
    reference, prediction = _checked(reference, prediction, num_phases)
    true, predicted = (np.bincount(labels, minlength=num_phases) for labels in (reference, prediction))
    hits = np.bincount(reference[reference == prediction], minlength=num_phases)
    return float(_nanmean(_ratio(2 * hits, true + predicted, true + predicted > 0)))


def _checked(reference: np.ndarray, prediction: np.ndarray, num_phases: int) -> tuple[np.ndarray, np.ndarray]:
    reference, prediction = np.asarray(reference), np.asarray(prediction)
    if reference.shape != prediction.shape or reference.ndim != 1:
        raise ValueError(
            f"reference {reference.shape} and prediction {prediction.shape} must be sequences of one length"
        )
    if len(reference) == 0:
        raise ValueError("there are no frames")
    for noun, labels in (("reference", reference), ("prediction", prediction)):
        if labels.dtype.kind not in "iu":
            raise ValueError(f"the {noun} holds {labels.dtype}; phase ids are integers")
        if labels.min() < 0 or labels.max() >= num_phases:
            raise ValueError(f"the {noun} holds ids outside 0 to {num_phases - 1}; leave frames without a phase out")
    return reference.astype(np.int64), prediction.astype(np.int64)


def _relaxed_frames(fps: float, tolerance_seconds: float, mode: str, num_phases: int) -> int:
    if mode not in MODES:
        raise ValueError(f"there is no mode {mode!r}; there are {' and '.join(MODES)}")
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"fps is {fps}; it must be a positive number")
    if not (math.isfinite(tolerance_seconds) and tolerance_seconds >= 0):
        raise ValueError(f"the tolerance is {tolerance_seconds} s; it must be a number of seconds from 0")
    frames = tolerance_seconds * fps
    if mode == "matlab" and num_phases not in MATLAB_OFFSETS:
        raise ValueError(f"mode matlab knows 7 phases (Cholec80) and 8 (M2CAI16), not {num_phases}; use mode intended")
    if mode == "matlab" and abs(frames - round(frames)) > 1e-6:
        raise ValueError(
            f"mode matlab needs a tolerance of whole frames, but {tolerance_seconds} s are {frames:g} frames"
        )
    return math.ceil(frames - 1e-6)  # 10 s at 29.97 fps: 300 frames; 0.1 s at 30 fps: 3, not 4 by rounding error


def _ratio(above: np.ndarray, below: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Quotient of `above` and `below` where defined and wanted, NaN elsewhere."""
    out = np.full(below.shape, np.nan)
    return np.divide(above, below, out=out, where=where & (below > 0))


def _nanmean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis without NaN; NaN where nothing else is there (and no warning)."""
    defined = ~np.isnan(values)
    total, count = np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _std(values: np.ndarray) -> float:
    """Sample standard deviation of what is defined; NaN for fewer than two values."""
    defined = values[~np.isnan(values)]
    return float(defined.std(ddof=1)) if len(defined) > 1 else float("nan")


def _without_nan(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def _summary(scores: dict[str, VideoScores], mode: str) -> dict[str, object]:
    """All figures of one setting; NaN is None in the lists."""
    accuracy = np.array([video.accuracy for video in scores.values()])
    values = {name: np.stack([getattr(video, name) for video in scores.values()]) for name in METRICS}  # (V, K)
    per_phase = {name: _nanmean(array.T) for name, array in values.items()}
    means = {
        name: phase_mean(array, skip_absent=mode != "matlab" or name in ("precision", "f1"))
        for name, array in values.items()
    }
    return {
        "accuracy": float(accuracy.mean()),
        "accuracy_std_over_videos": _std(accuracy),
        **means,
        **{f"{name}_std_over_phases": _std(per_phase[name]) for name in METRICS},
        "video_mean": {name: video_mean(array) for name, array in values.items()},
        "averaged": {
            name: {
                "values": int((~np.isnan(array)).sum()),
                "phases": int((~np.isnan(array)).any(axis=0).sum()),
                "videos": int((~np.isnan(array)).any(axis=1).sum()),
            }
            for name, array in values.items()
        },
        "per_phase": {name: _without_nan(array) for name, array in per_phase.items()},
        "per_video": {
            name: {"accuracy": video.accuracy, **{metric: _without_nan(getattr(video, metric)) for metric in METRICS}}
            for name, video in scores.items()
        },
    }


class PhaseRecognition(evaluate.Metric):
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
        num_phases: int,
        fps: float | Sequence[float],
        tolerance_seconds: float = 10.0,
        mode: str = "intended",
    ) -> dict[str, object]:
        if not videos:
            raise ValueError("there are no videos")
        if len(set(videos)) != len(videos):
            raise ValueError("two videos have the same name")
        rates = [float(fps)] * len(videos) if isinstance(fps, (int, float)) else [float(rate) for rate in fps]
        if len(rates) != len(videos):
            raise ValueError(f"{len(rates)} fps for {len(videos)} videos; one for all or one each is needed")
        strict, relaxed, macro = {}, {}, []
        for video, reference, prediction, rate in zip(videos, references, predictions, rates, strict=True):
            true, predicted = (np.array(labels, dtype=np.int64) for labels in (reference, prediction))
            try:
                strict[video] = video_scores(true, predicted, num_phases, rate, 0.0, mode)
                relaxed[video] = video_scores(true, predicted, num_phases, rate, tolerance_seconds, mode)
            except ValueError as error:
                raise ValueError(f"video {video!r}: {error}") from None
            macro.append(macro_f1(true, predicted, num_phases))
        return {
            "strict": _summary(strict, mode),
            "relaxed": _summary(relaxed, mode),
            "macro_f1": float(np.mean(macro)),
            "variant": f"{VARIANT}; boundaries relaxed by {tolerance_seconds:g} s, mode {mode}",
            "mode": mode,
            "tolerance_seconds": float(tolerance_seconds),
            "fps": sorted(set(rates)),
            "videos": len(videos),
        }

"""Scores of every family: perfect predictions, hand-worked cases, and agreement with scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, matthews_corrcoef

from evaluation.bootstrap import interval, per_case, point
from evaluation.datasets.samples import Kind, Target
from evaluation.metrics.triplet_average_precision.triplet_average_precision import CHOLECT50_TRIPLETS
from evaluation.predictions import Predictions
from evaluation.scoring import SCORERS, Measured, score
from evaluation.scoring.measured import in_chunks

CLASSES = {"step_pitvis": 15, "gesture_sar_rarp50": 8, "triplet": len(CHOLECT50_TRIPLETS)}
KINDS: dict[str, Kind] = {
    "presence": "multi",
    "triplet": "multi",
    "cvs": "multi",
    "procedure": "multi",
    "skill": "value",
}


def predict(
    family: str,
    targets: np.ndarray,
    scores: np.ndarray,
    videos: list[str],
    cases: list[str] | None = None,
    fps: float = 1,
) -> Predictions:
    kind = KINDS.get(family, "single")
    names = tuple(f"class {index}" for index in range(scores.shape[1]))
    seconds = np.array([videos[:row].count(video) / fps for row, video in enumerate(videos)])
    target = Target(family, kind, names)
    return Predictions(family, family, target, tuple(cases or videos), tuple(videos), seconds, targets, scores)


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[labels]


def by_name(measures: list[Measured]) -> dict[str, Measured]:
    return {f"{each.metric} {each.variant[:7]}": each for each in measures}


@pytest.mark.parametrize("family", SCORERS)
def test_perfect_predictions_get_the_best_value(family: str) -> None:
    rng = np.random.default_rng(0)
    classes = CLASSES.get(family, 3)
    videos = [f"v{row // 12}" for row in range(36)]
    kind = KINDS.get(family, "single")
    if kind == "single":
        targets = (np.arange(36) // 4) % 3
        scores = one_hot(targets, classes)
    elif kind == "multi":
        targets = rng.random((36, classes)) < 0.4
        scores = np.where(targets, 2.0, -1.0).astype(np.float32)
    else:
        targets = rng.normal(size=(36, classes)).astype(np.float32)
        scores = targets
    measures = score(predict(family, targets, scores, videos))
    assert [each.primary for each in measures] == [True] + [False] * (len(measures) - 1)
    for each in measures:
        if each.metric != "top_5_accuracy":  # more than five true triplets a frame here
            best = 1.0 if each.higher_is_better or each.metric == "over_segmentation_ratio" else 0.0
            assert point(each) == pytest.approx(best), each.metric
        assert interval(each, 0) is not None


def test_phases_by_hand() -> None:
    targets = np.array([0, 0, 1, 1, 0, 0, 0, 0])
    called = np.array([0, 1, 1, 1, 0, 0, 1, 0])
    measures = by_name(score(predict("phase", targets, one_hot(called, 3), ["a"] * 4 + ["b"] * 4)))
    assert per_case(measures["accuracy strict,"]) == {"a": 0.75, "b": 0.75}
    jaccard = measures["jaccard strict,"]
    assert jaccard.primary
    assert per_case(jaccard) == {"a": pytest.approx((1 / 2 + 2 / 3) / 2), "b": 0.75}
    assert point(jaccard) == pytest.approx(((1 / 2 + 3 / 4) / 2 + 2 / 3) / 2)  # by class over videos, then over classes
    assert point(measures["accuracy boundar"]) == pytest.approx((1 + 0.75) / 2)
    assert point(measures["edit mean ov"]) == pytest.approx((1 + 1 / 3) / 2)
    assert point(measures["f1@50 segment"]) == pytest.approx(2 * 3 / (2 * 3 + 2))  # a: 2 found; b: 1 found, 2 invented
    assert jaccard.details()["per_class"]["class 2"] is None


def test_several_videos_of_a_case_are_drawn_together() -> None:
    targets = np.array([0, 1, 0, 1, 0, 1])
    called = np.array([0, 1, 1, 0, 0, 1])
    prediction = predict("gesture", targets, one_hot(called, 2), list("aabbcc"), ["x"] * 4 + ["y"] * 2)
    accuracy = by_name(score(prediction))["accuracy strict,"]
    assert accuracy.cases == ("x", "y")
    assert per_case(accuracy) == {"x": 0.5, "y": 1.0}
    assert point(accuracy) == pytest.approx(2 / 3)


def test_rate_of_the_labels_does_not_change_relaxed_scores() -> None:
    slow, called = np.repeat([0, 1, 2], 40), np.repeat([0, 1, 2], [45, 30, 45])
    values = []
    for rate in (1, 5):
        targets = np.repeat(slow, rate)
        scores = one_hot(np.repeat(called, rate), 3)
        measures = by_name(score(predict("phase", targets, scores, ["a"] * len(targets), fps=rate)))
        values.append([point(measures[f"{name} boundar"]) for name in ("accuracy", "jaccard")])
    assert values[0] == pytest.approx([1.0, 1.0])
    assert values[0] == pytest.approx(values[1])


def test_classification_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    targets, scores = rng.integers(0, 4, 60), rng.normal(size=(60, 4)).astype(np.float32)
    measures = {
        each.metric: each for each in score(predict("motion", targets, scores, [f"v{i // 10}" for i in range(60)]))
    }
    called = scores.argmax(axis=1)
    assert point(measures["macro_f1"]) == pytest.approx(f1_score(targets, called, average="macro"))
    assert point(measures["accuracy"]) == pytest.approx((targets == called).mean())
    assert point(measures["balanced_accuracy"]) == pytest.approx(balanced_accuracy_score(targets, called))
    assert point(measures["matthews_correlation"]) == pytest.approx(matthews_corrcoef(targets, called))
    constant = score(predict("motion", targets, one_hot(np.zeros(60, int), 4), ["a"] * 60))
    assert np.isnan(point({each.metric: each for each in constant}["matthews_correlation"]))


def test_view_of_safety_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    targets, scores = rng.random((40, 3)) < 0.3, rng.normal(size=(40, 3)).astype(np.float32)
    measures = {each.metric: each for each in score(predict("cvs", targets, scores, [f"v{i // 8}" for i in range(40)]))}
    expected = [balanced_accuracy_score(targets[:, c], scores[:, c] > 0) for c in range(3)]
    assert point(measures["balanced_accuracy"]) == pytest.approx(np.mean(expected))
    assert point(measures["f1"]) == pytest.approx(
        np.mean([f1_score(targets[:, c], scores[:, c] > 0) for c in range(3)])
    )


def test_constant_skill_has_no_rank_correlation_and_an_error() -> None:
    targets = np.array([[1.0], [2.0], [4.0]], dtype=np.float32)
    measures = {m.metric: m for m in score(predict("skill", targets, np.full((3, 1), 2, np.float32), ["a", "b", "c"]))}
    assert np.isnan(point(measures["spearman"]))
    assert point(measures["mean_absolute_error"]) == pytest.approx(1.0)
    assert not measures["mean_absolute_error"].higher_is_better


def test_challenge_scores_stand_first() -> None:
    targets = np.repeat([2, 3, 2], 5)
    steps = score(predict("step_pitvis", targets, one_hot(targets, 15), ["a"] * 15))
    gestures = score(predict("gesture_sar_rarp50", targets, one_hot(np.repeat([2, 2, 2], 5), 8), ["a"] * 15))
    assert (steps[0].metric, point(steps[0])) == ("pitvis_score", 1.0)
    # accuracy 2/3; one predicted segment covers a true one by 1/3: F1@10 = 2 / (1 + 3)
    assert (gestures[0].metric, point(gestures[0])) == ("sar_rarp50_score", pytest.approx(np.sqrt(2 / 3 * 0.5)))


def test_chunks_give_what_one_piece_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = np.arange(12.0).reshape(6, 2)
    monkeypatch.setattr("evaluation.scoring.measured.CHUNK", 8)
    sizes = []

    def compute(part: np.ndarray) -> np.ndarray:
        sizes.append(len(part))
        return part.sum(axis=1)

    assert in_chunks(compute, samples=4)(weights).tolist() == weights.sum(axis=1).tolist()
    assert sizes == [2, 2, 2]

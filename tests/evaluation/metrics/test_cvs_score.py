from typing import Any

import evaluate
import numpy as np
import pytest
from sklearn import metrics

from evaluation.datasets.endoscapes import CVS_THRESHOLD
from evaluation.metrics import cvs_score as room
from evaluation.metrics.cvs_score import (
    CVSScore,
    average_precision,
    balanced_accuracy,
    binary_from_points,
    binary_from_raters,
    brier_score,
    f1_score,
    mean_over_criteria,
)
from evaluation.metrics.cvs_score.cvs_score import THRESHOLD

# three raters: C1 is met in frames 0 and 2, C2 in none, C3 in all
RATERS = np.array([[1, 0, 1], [1 / 3, 0, 2 / 3], [2 / 3, 1 / 3, 1]])
PROBABILITIES = np.array([[0.9, 0.2, 0.5], [0.6, 0.1, 0.4], [0.4, 0.3, 1.0]])
NAN = float("nan")


def generated(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random((60, 3)) < 0.4, rng.integers(0, 9, (60, 3)) / 8


def test_raters_and_points() -> None:
    assert THRESHOLD == CVS_THRESHOLD
    assert binary_from_raters(RATERS).astype(int).tolist() == [[1, 0, 1], [0, 0, 1], [1, 0, 1]]
    assert binary_from_raters(np.array([[0.5, 0.0, 1.0]])).tolist() == [[True, False, True]]
    assert binary_from_points(np.array([[0, 1, 2]])).tolist() == [[False, True, True]]


@pytest.mark.filterwarnings("error")  # undefined by rule, not by a division that numpy warns of
def test_hand_computed() -> None:
    labels = binary_from_raters(RATERS)
    # C1: hits at rank 1 and 3
    assert average_precision(labels, PROBABILITIES) == pytest.approx([1 / 2 + 1 / 2 * 2 / 3, NAN, 1], nan_ok=True)
    # C1: one of two found, the one negative missed; C2 and C3 have one class only
    assert balanced_accuracy(labels, PROBABILITIES) == pytest.approx([(1 / 2 + 0) / 2, NAN, NAN], nan_ok=True)
    # C1: TP 1, FP 1, FN 1; C3: TP 2 (0.5 counts as predicted), FN 1
    assert f1_score(labels, PROBABILITIES) == pytest.approx([2 / 4, NAN, 4 / 5], nan_ok=True)
    assert brier_score(labels, PROBABILITIES) == pytest.approx(
        [(0.01 + 0.36 + 0.36) / 3, (0.04 + 0.01 + 0.09) / 3, (0.25 + 0.36 + 0) / 3]
    )
    assert mean_over_criteria(average_precision(labels, PROBABILITIES)) == pytest.approx((5 / 6 + 1) / 2)
    assert np.isnan(mean_over_criteria(np.array([NAN, NAN])))


@pytest.mark.parametrize("seed", range(3))
def test_equals_scikit_learn(seed: int) -> None:
    labels, probabilities = generated(seed)
    for c in range(3):
        truth, score = labels[:, c], probabilities[:, c]
        assert average_precision(labels, probabilities)[c] == pytest.approx(
            metrics.average_precision_score(truth, score)
        )
        assert balanced_accuracy(labels, probabilities)[c] == pytest.approx(
            metrics.balanced_accuracy_score(truth, score >= 0.5)
        )
        assert f1_score(labels, probabilities)[c] == pytest.approx(metrics.f1_score(truth, score >= 0.5))
        assert brier_score(labels, probabilities)[c] == pytest.approx(metrics.brier_score_loss(truth, score))


def test_perfect_and_constant_predictions() -> None:
    labels, _ = generated(0)
    for score in (average_precision, balanced_accuracy, f1_score):
        assert score(labels, labels.astype(float)).tolist() == [1, 1, 1]
    assert brier_score(labels, labels.astype(float)).tolist() == [0, 0, 0]
    constant = np.full(labels.shape, 0.7)
    assert average_precision(labels, constant) == pytest.approx(labels.mean(axis=0))
    assert balanced_accuracy(labels, constant).tolist() == [0.5, 0.5, 0.5]


def test_order_of_criteria_and_frames_is_irrelevant() -> None:
    labels, probabilities = generated(1)
    frames, criteria = np.random.default_rng(0).permutation(60), [2, 0, 1]
    for score in (average_precision, balanced_accuracy, f1_score, brier_score):
        assert score(labels[frames][:, criteria], probabilities[frames][:, criteria]) == pytest.approx(
            score(labels, probabilities)[criteria]
        )


def test_values_of_each_case_are_those_of_its_frames_alone() -> None:
    labels, probabilities = generated(2)
    cases = ["121", "162"] * 30
    result = CVSScore().compute(predictions=probabilities, references=labels, cases=cases)
    assert list(result["per_case"]) == ["121", "162"]
    for start, case in enumerate(("121", "162")):
        alone = CVSScore().compute(predictions=probabilities[start::2], references=labels[start::2], cases=[case] * 30)
        assert result["per_case"][case] == alone["per_criterion"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predictions": PROBABILITIES[:, :2]}, r"labels \(3, 3\) and probabilities \(3, 2\) must both be"),
        ({"predictions": PROBABILITIES * 4 - 2}, "probabilities must lie in 0 to 1; logits go through a sigmoid"),
        ({"predictions": PROBABILITIES * NAN}, "probabilities must lie in 0 to 1"),
        ({"references": RATERS * 2}, r"means of raters must lie in 0 to 1; points of Cholec80-CVS become min\(1"),
        ({"criteria": ["C1"]}, "1 names for 3 criteria"),
    ],
)
def test_bad_input(change: dict[str, Any], message: str) -> None:
    arguments = {"predictions": PROBABILITIES, "references": RATERS, "cases": ["121", "121", "122"]}
    with pytest.raises(ValueError, match=message):
        CVSScore().compute(**(arguments | change))


def test_bad_input_of_the_functions() -> None:
    with pytest.raises(ValueError, match="points of Cholec80-CVS are 0, 1 or 2"):
        binary_from_points(np.array([[3]]))
    with pytest.raises(ValueError, match="labels must be 0 or 1; means of raters go through binary_from_raters"):
        brier_score(RATERS, PROBABILITIES)
    with pytest.raises(ValueError, match="not empty"):
        f1_score(np.zeros((0, 3)), np.zeros((0, 3)))


def test_module_loads_by_path_and_computes_the_same_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    metric = evaluate.load(str(next(iter(room.__path__))))
    arguments = {
        "predictions": PROBABILITIES[:, :2].tolist(),
        "references": RATERS[:, :2].tolist(),
        "cases": ["121", "121", "122"],
    }
    first = metric.compute(**arguments)
    assert first == metric.compute(**arguments) == CVSScore().compute(**arguments)
    assert first["cvs_score"] == first["mean"]["average_precision"] == pytest.approx(5 / 6)
    assert first["mean"]["balanced_accuracy"] == pytest.approx(1 / 4)
    assert first["per_criterion"]["f1"] == {"C1": 0.5, "C2": None}
    assert first["per_case"]["122"]["average_precision"] == {"C1": 1.0, "C2": None}
    assert first["positives"] == {"C1": 2, "C2": 0}
    assert first["frames"] == 3


def test_inputs_stay_untouched() -> None:
    labels, probabilities = generated(0)
    before = labels.tolist(), probabilities.tolist()
    CVSScore().compute(predictions=probabilities, references=labels, cases=["121"] * 60)
    assert (labels.tolist(), probabilities.tolist()) == before

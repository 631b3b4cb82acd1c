import evaluate
import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from evaluation.metrics import mean_average_precision as room
from evaluation.metrics.mean_average_precision import (
    MeanAveragePrecision,
    average_precision,
    mean_over_positive_classes,
    weighted_average_precision,
)


def test_hand_computed() -> None:
    labels = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1]])
    scores = np.array([[0.9, 0.2, 0.1], [0.8, 0.1, 0.1], [0.1, 0.3, 0.1]])
    # class 0: hits at rank 1 and 3: 1/2 * 1 + 1/2 * 2/3; class 1 has no positives; class 2 is all positive
    assert average_precision(labels, scores) == pytest.approx([5 / 6, np.nan, 1.0], nan_ok=True)
    assert mean_over_positive_classes(average_precision(labels, scores)) == pytest.approx((5 / 6 + 1) / 2)


def test_equal_scores_give_the_prevalence() -> None:
    labels = np.array([[1], [0], [0], [1], [0]])
    assert average_precision(labels, np.zeros((5, 1))) == pytest.approx([0.4])


@pytest.mark.parametrize("seed", range(5))
def test_equals_scikit_learn_with_ties_and_weights(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, scores = rng.random(40) < 0.3, rng.integers(0, 8, 40) / 8
    weights = rng.integers(0, 4, (6, 40))
    expected = [average_precision_score(labels, scores, sample_weight=row) for row in weights]
    assert weighted_average_precision(labels, scores, weights) == pytest.approx(expected, abs=1e-12)


def test_weight_two_is_the_frame_twice() -> None:
    labels, scores = np.array([1, 0, 1, 0]), np.array([0.3, 0.6, 0.7, 0.1])
    doubled = [0, 1, 1, 2, 3]
    expected = average_precision(labels[doubled, None], scores[doubled, None])[0]
    assert weighted_average_precision(labels, scores, np.array([[1, 2, 1, 1]]))[0] == pytest.approx(expected)


def test_no_weight_on_positives_is_undefined() -> None:
    assert np.isnan(weighted_average_precision(np.array([1, 0]), np.array([0.1, 0.2]), np.array([[0, 3]])))[0]
    assert np.isnan(mean_over_positive_classes(np.array([np.nan, np.nan])))


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2)), r"labels \(2, 3\) and scores \(3, 2\) must both be"),
        (np.zeros((0, 2)), np.zeros((0, 2)), "not empty"),
        (np.zeros((1, 1)), np.array([[np.nan]]), "scores must be finite"),
        (np.array([[2 / 3]]), np.zeros((1, 1)), "labels must be 0 or 1; means of raters need a threshold"),
    ],
)
def test_bad_input(labels: np.ndarray, scores: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        average_precision(labels, scores)


def test_module_loads_by_path_and_computes_the_same_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    metric = evaluate.load(str(next(iter(room.__path__))))
    arguments = {
        "predictions": [[0.9, 0.2], [0.8, 0.1], [0.1, 0.3]],
        "references": [[1, 0], [0, 0], [1, 0]],
        "class_names": ["hook", "clipper"],
    }
    first = metric.compute(**arguments)
    assert first == metric.compute(**arguments) == MeanAveragePrecision().compute(**arguments)
    assert first["mean_average_precision"] == pytest.approx(5 / 6)
    assert first["absent_classes"] == ["clipper"]
    assert first["positives"] == {"hook": 2, "clipper": 0}
    assert first["per_class"] == {"hook": pytest.approx(5 / 6), "clipper": None}


def test_module_refuses_a_wrong_number_of_names() -> None:
    with pytest.raises(ValueError, match="1 class names for 2 classes"):
        MeanAveragePrecision().compute(predictions=[[0.1, 0.2]], references=[[1, 1]], class_names=["hook"])


def test_module_refuses_means_of_raters_instead_of_cutting_them_to_zero() -> None:
    with pytest.raises(ValueError, match="labels must be 0 or 1"):
        MeanAveragePrecision().compute(predictions=[[0.1], [0.2]], references=[[2 / 3], [1]])


def test_inputs_stay_untouched() -> None:
    labels, scores, weights = np.array([1, 0]), np.array([0.1, 0.2]), np.array([[1, 1]])
    weighted_average_precision(labels, scores, weights)
    assert (labels.tolist(), scores.tolist(), weights.tolist()) == ([1, 0], [0.1, 0.2], [[1, 1]])

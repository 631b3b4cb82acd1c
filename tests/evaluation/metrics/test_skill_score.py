from typing import Any

import evaluate
import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr
from sklearn.metrics import accuracy_score, f1_score

from evaluation.metrics import skill_score as room
from evaluation.metrics.skill_score import (
    SkillScore,
    average_ranks,
    level_f1,
    mean_absolute_error,
    mean_spearman,
    spearman,
)

REFERENCES = np.array([[10.0], [15.0], [21.0], [30.0]])
PREDICTIONS = np.array([[12.0], [20.0], [18.0], [27.0]])
REFERENCE_LEVELS = ["N", "N", "I", "E"]
PREDICTED_LEVELS = ["N", "I", "I", "E"]


def ratings(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Ratings 1 to 5 of 25 trials by 6 criteria, with many ties."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(1, 6, (25, 6)).astype(float)
    return truth, np.round(truth + rng.normal(0, 1.5, truth.shape))


def test_hand_computed() -> None:
    # ranks 1 2 3 4 and 1 3 2 4: 1 - 6 * (1 + 1) / (4 * 15)
    assert spearman(REFERENCES, PREDICTIONS) == pytest.approx([0.8])
    assert mean_absolute_error(REFERENCES, PREDICTIONS) == pytest.approx([(2 + 5 + 3 + 3) / 4])
    # N: TP 1 of 2 true, 1 predicted; I: TP 1 of 1 true, 2 predicted
    assert level_f1(REFERENCE_LEVELS, PREDICTED_LEVELS) == pytest.approx({"N": 2 / 3, "I": 2 / 3, "E": 1})


def test_equal_ratings_share_the_average_of_their_ranks() -> None:
    assert average_ranks(np.array([3, 1, 3, 3, 7])).tolist() == [3, 1, 3, 3, 5]
    # centered ranks -1 0 1 and -0.5 -0.5 1: 1.5 / sqrt(2 * 1.5)
    rho = spearman(np.array([[1], [2], [3]]), np.array([[4], [4], [9]]))
    assert rho == pytest.approx([1.5 / np.sqrt(3)])


@pytest.mark.parametrize("seed", range(4))
def test_equals_scipy_with_ties(seed: int) -> None:
    truth, predicted = ratings(seed)
    assert average_ranks(truth[:, 0]).tolist() == rankdata(truth[:, 0]).tolist()
    expected = [spearmanr(truth[:, c], predicted[:, c]).statistic for c in range(6)]
    assert spearman(truth, predicted) == pytest.approx(expected, abs=1e-12)
    assert mean_spearman(truth, predicted) == pytest.approx(np.mean(expected))


def test_only_the_order_of_the_predictions_matters_to_rho() -> None:
    truth, predicted = ratings(0)
    assert spearman(truth, truth) == pytest.approx(np.ones(6))
    assert spearman(truth, -truth) == pytest.approx(-np.ones(6))
    assert spearman(truth, np.exp(predicted)) == pytest.approx(spearman(truth, predicted))
    trials = np.random.default_rng(1).permutation(25)
    assert spearman(truth[trials], predicted[trials]) == pytest.approx(spearman(truth, predicted))
    assert spearman(truth[:, ::-1], predicted[:, ::-1]) == pytest.approx(spearman(truth, predicted)[::-1])


def test_a_constant_reference_is_left_out_of_the_mean_and_a_constant_prediction_undoes_it() -> None:
    truth = np.array([[1, 3, 1], [2, 3, 2], [3, 3, 3]])
    predicted = np.array([[1, 1, 3], [2, 2, 2], [3, 3, 1]])
    assert spearman(truth, predicted) == pytest.approx([1, np.nan, -1], nan_ok=True)
    assert mean_spearman(truth, predicted) == pytest.approx(0)
    lazy = np.array([[1, 1, 5], [2, 2, 5], [3, 3, 5]])
    result = SkillScore().compute(predictions=lazy, references=truth, criteria=["flow", "time", "respect"])
    assert np.isnan(result["skill_score"])
    assert result["spearman"] == {"flow": pytest.approx(1), "time": None, "respect": None}
    assert (result["constant_references"], result["constant_predictions"]) == (["time"], ["respect"])
    assert np.isnan(mean_spearman(truth[:, 1:2], predicted[:, 1:2]))
    assert np.isnan(spearman(truth[:1], predicted[:1])).all()


@pytest.mark.parametrize("seed", range(4))
def test_levels_equal_scikit_learn_over_the_levels_of_the_reference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, predicted = rng.choice(["N", "I"], 20).tolist(), rng.choice(["N", "I", "E"], 20).tolist()
    result = SkillScore().compute(
        predictions=np.zeros((20, 1)), references=np.zeros((20, 1)), predicted_levels=predicted, reference_levels=truth
    )
    assert result["level_accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    assert result["level_macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro", labels=["N", "I"]))
    assert "E" not in result["level_f1"]
    assert result["level_correct"] == [a == b for a, b in zip(truth, predicted, strict=True)]


def test_levels_are_undefined_where_none_are_given() -> None:
    result = SkillScore().compute(predictions=PREDICTIONS, references=REFERENCES)
    assert np.isnan([result["level_accuracy"], result["level_macro_f1"]]).all()
    assert (result["level_f1"], result["level_correct"]) == ({}, [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predictions": np.zeros((4, 2))}, r"references \(4, 1\) and predictions \(4, 2\) must both be"),
        ({"predictions": PREDICTIONS * np.inf}, "predictions must be finite; leave out trials without a rating"),
        ({"references": REFERENCES * np.nan}, "references must be finite"),
        ({"criteria": ["a", "b"]}, "2 names for 1 criteria"),
        ({"reference_levels": REFERENCE_LEVELS}, "give both reference_levels and predicted_levels, or neither"),
        (
            {"reference_levels": REFERENCE_LEVELS, "predicted_levels": PREDICTED_LEVELS[:3]},
            "4 reference levels and 3 predicted; one each per trial",
        ),
        ({"reference_levels": ["N"], "predicted_levels": ["N"]}, "1 reference levels for 4 trials"),
    ],
)
def test_bad_input(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SkillScore().compute(**({"predictions": PREDICTIONS, "references": REFERENCES} | change))


def test_nothing_to_score_is_refused() -> None:
    with pytest.raises(ValueError, match="not empty"):
        spearman(np.zeros((0, 1)), np.zeros((0, 1)))
    with pytest.raises(ValueError, match="0 reference levels and 0 predicted"):
        level_f1([], [])


def test_module_loads_by_path_and_computes_the_same_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    metric = evaluate.load(str(next(iter(room.__path__))))
    arguments = {
        "predictions": PREDICTIONS.tolist(),
        "references": REFERENCES.tolist(),
        "criteria": ["GRS"],
        "predicted_levels": PREDICTED_LEVELS,
        "reference_levels": REFERENCE_LEVELS,
    }
    first = metric.compute(**arguments)
    assert first == metric.compute(**arguments) == SkillScore().compute(**arguments)
    assert first["skill_score"] == pytest.approx(0.8)
    assert first["absolute_error"] == {"GRS": 3.25}
    assert first["mean_absolute_error"] == 3.25
    assert first["per_trial_absolute_error"] == [[2], [5], [3], [3]]
    assert (first["level_accuracy"], first["level_macro_f1"]) == (0.75, pytest.approx(7 / 9))
    assert first["trials"] == 4


def test_inputs_stay_untouched() -> None:
    truth, predicted = ratings(0)
    before = truth.tolist(), predicted.tolist()
    SkillScore().compute(predictions=predicted, references=truth)
    assert (truth.tolist(), predicted.tolist()) == before

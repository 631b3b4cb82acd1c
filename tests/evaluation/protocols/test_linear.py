import dataclasses

import numpy as np
import pytest

from evaluation.protocols import linear
from evaluation.protocols.linear import fit_linear
from tests.evaluation.protocols.probe_problem import balanced_accuracy, make_problem, make_targets
from training.diagnostics.standardizer import Standardizer


def test_standardizer_hand_computed_and_constant_columns_become_zero() -> None:
    rows = np.array([[1.0, 5.0], [3.0, 5.0]], dtype=np.float32)
    assert Standardizer.of(rows)(rows).tolist() == [[-1.0, 0.0], [1.0, 0.0]]


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_many_features_give_what_the_full_space_gives(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rotation onto the subspace of the samples is exact: tripling all samples avoids it and must not matter."""
    monkeypatch.setattr(linear, "PENALTIES", [1.0])
    monkeypatch.setattr(linear, "BALANCES", (0.5,))
    inputs, problem = make_problem(make_targets(kind, 12), kind, sides=(1, 0, 1))  # 6 samples, 16 features
    tripled = dataclasses.replace(problem, train=problem.train + problem.train + problem.train)
    scores = [fit_linear(inputs, either, 0)[0] for either in (problem, tripled)]
    assert scores[0] == pytest.approx(scores[1], abs=2e-3)


def test_a_rare_class_is_called_where_balance_is_chosen() -> None:
    """One sample of twelve is of the rare class, which overlaps the others: equal weights never call it."""
    rng = np.random.default_rng(0)
    targets = np.where(rng.random(600) < 1 / 12, 2, rng.integers(0, 2, 600))
    inputs, problem = make_problem(targets, "single", noise=4.0)
    scores, chosen = fit_linear(inputs, problem, 0)
    assert float(chosen.values["balance"]) > 0
    assert (scores.argmax(axis=1)[problem.test.targets == 2] == 2).mean() > 0.3


def test_balance_one_gives_every_class_the_same_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a penalty that allows no slope, only the bias is left: class frequencies under the weights."""
    monkeypatch.setattr(linear, "PENALTIES", [1e6])
    inputs, problem = make_problem(np.array([0] * 9 + [1] * 2 + [2] + [0, 1, 2] * 4), "single", sides=(1, 0, 1))
    for balance, shares in ((0.0, [9 / 12, 2 / 12, 1 / 12]), (1.0, [1 / 3, 1 / 3, 1 / 3])):
        monkeypatch.setattr(linear, "BALANCES", (balance,))
        scores, _ = fit_linear(inputs, problem, 0)
        likely = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        assert likely == pytest.approx(np.tile(shares, (12, 1)), abs=5e-3)


def test_draw_above_the_limit_is_seeded_and_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "ROWS_TO_CHOOSE", 20)
    inputs, problem = make_problem(make_targets("single", 120), "single")
    fits = [fit_linear(inputs, problem, 0) for _ in range(2)]
    assert np.array_equal(fits[0][0], fits[1][0])
    assert balanced_accuracy(problem, fits[0][0]) > 0.95


def test_values_of_different_units_are_found() -> None:
    targets = make_targets("value", 120) * np.array([1, 1000, 0.001], np.float32)
    inputs, problem = make_problem(targets, "value")
    scores, chosen = fit_linear(inputs, problem, 0)
    for column in range(3):
        assert np.corrcoef(scores[:, column], problem.test.targets[:, column])[0, 1] > 0.9
    assert chosen.criterion == "R² of pooled held-out rows"


def test_a_single_held_out_sample_is_scored() -> None:
    inputs, problem = make_problem(make_targets("single", 6), "single", sides=(4, 1, 1))
    assert len(problem.val) == 1
    scores, chosen = fit_linear(inputs, problem, 0)
    assert np.isfinite(scores).all()
    assert chosen.chosen_on in ("validation cases", "fixed before the run")

import numpy as np
import pytest
import torch

from evaluation.protocols import knn
from evaluation.protocols.knn import fit_knn, knn_scores, log_odds, unit_features, weighted_mean
from tests.evaluation.protocols.probe_problem import balanced_accuracy, make_problem, make_targets


def test_hand_computed_votes() -> None:
    share = 1 / (1 + np.exp(-1))  # exp(0.9 / 0.4) against exp(0.5 / 0.4)
    cosines, targets = torch.tensor([[0.9, 0.5]]), torch.tensor([[[1.0, 0.0, 10.0], [0.0, 1.0, 20.0]]])
    votes = weighted_mean(cosines, targets, temperature=0.4)
    assert votes.numpy() == pytest.approx(np.array([[share, 1 - share, 10 * share + 20 * (1 - share)]]))


def test_only_the_nearest_count_for_each_setting() -> None:
    bank = np.eye(3, dtype=np.float32)
    queries = np.array([[0.8, 0.6, 0.0]], dtype=np.float32)
    scores = knn_scores(queries, bank, bank, [(1, 0.1), (2, 0.2), (50, 1e9)])
    share = 1 / (1 + np.exp(-1))
    assert scores[:, 0] == pytest.approx(np.array([[1, 0, 0], [share, 1 - share, 0], [1 / 3, 1 / 3, 1 / 3]]))


def test_queries_come_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    queries, bank = (rng.standard_normal((count, 4)).astype(np.float32) for count in (7, 9))
    whole = knn_scores(queries, bank, bank, [(3, 0.1)])
    monkeypatch.setattr(knn, "_CHUNK", 3)
    assert knn_scores(queries, bank, bank, [(3, 0.1)]) == pytest.approx(whole)


def test_unit_features_are_centered_and_parts_weigh_the_same() -> None:
    rng = np.random.default_rng(0)
    small, large = rng.standard_normal((10, 3)).astype(np.float32), 1000 + 50 * rng.standard_normal((10, 8))
    empty = np.zeros((10, 0), dtype=np.float32)
    rows = unit_features([small, large, empty], [part.mean(axis=0) for part in (small, large, empty)])
    assert rows.shape == (10, 11)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(10), abs=1e-5)
    assert np.linalg.norm(rows[:, :3], axis=1) == pytest.approx(np.full(10, np.sqrt(0.5)), abs=1e-5)


def test_log_odds_keep_order_and_stay_finite() -> None:
    shares = np.array([0.0, 1e-20, 0.25, 0.5, 1.0], dtype=np.float32)
    odds = log_odds(shares)
    assert odds[2] == pytest.approx(-np.log(3))
    assert odds[3] == 0
    assert (np.diff(odds) > 0).all()
    assert np.isfinite(odds).all()


def test_a_bank_and_queries_above_the_limits_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "BANK", 30)
    monkeypatch.setattr(knn, "QUERIES_TO_CHOOSE", 10)
    inputs, problem = make_problem(make_targets("single", 120), "single")
    fits = [fit_knn(inputs, problem, 0) for _ in range(2)]
    assert np.array_equal(fits[0][0], fits[1][0])
    assert balanced_accuracy(problem, fits[0][0]) > 0.95
    assert len(np.unique(fits[0][0][0])) > 1

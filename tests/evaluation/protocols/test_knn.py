import numpy as np
import pytest

from evaluation.protocols.knn import knn_label_scores, knn_scores, unit_features


def test_hand_computed_votes() -> None:
    cosines = np.array([[0.9, 0.5, -1.0]])
    labels = np.array([[1, 0], [0, 1], [1, 1]], dtype=bool)
    scores = knn_scores(cosines, labels, neighbors=2, temperature=0.4)
    share = 1 / (1 + np.exp(-1))  # exp(0.9 / 0.4) against exp(0.5 / 0.4)
    assert scores == pytest.approx(np.array([[share, 1 - share]]))


def test_more_neighbors_than_frames_takes_all() -> None:
    labels = np.array([[1], [0]], dtype=bool)
    assert knn_scores(np.array([[0.5, 0.5]]), labels, neighbors=50, temperature=0.1) == pytest.approx(np.array([[0.5]]))


def test_unit_features_are_centered_on_the_training_frames_and_parts_weigh_the_same() -> None:
    rng = np.random.default_rng(0)
    small, large = rng.standard_normal((10, 3)).astype(np.float32), 1000 + 50 * rng.standard_normal((10, 8))
    empty = np.zeros((10, 0), dtype=np.float32)
    train, query = unit_features([small, large, empty], [small[:2], large[:2], empty[:2]])
    assert train.shape == (10, 11)
    assert np.linalg.norm(train, axis=1) == pytest.approx(np.ones(10), abs=1e-5)
    assert np.linalg.norm(train[:, :3], axis=1) == pytest.approx(np.full(10, np.sqrt(0.5)), abs=1e-5)
    assert query == pytest.approx(train[:2], abs=1e-6)


def test_finds_the_class_and_never_looks_at_test_frames_to_choose() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random((60, 2)) < 0.5
    features = np.where(labels, 1.0, -1.0) + 0.3 * rng.standard_normal((60, 2))
    cases = [f"case{number // 10}" for number in range(60)]
    queries = np.array([[1.0, -1.0], [-1.0, 1.0]])
    scores, chosen = knn_label_scores([features], labels, cases, [queries])
    assert (scores > 0.5).tolist() == [[True, False], [False, True]]
    assert chosen.chosen_on == "train folds by case"
    assert knn_label_scores([features], labels, cases, [-queries])[1] == chosen


def test_a_single_training_case_uses_fixed_settings() -> None:
    labels = np.array([[True], [False]])
    _, chosen = knn_label_scores([np.eye(2)], labels, ["a", "a"], [np.eye(2)])
    assert chosen.chosen_on == "fixed before the run"

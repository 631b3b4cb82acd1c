import numpy as np
import pytest

from evaluation.metrics.mean_average_precision import average_precision
from evaluation.protocols import linear
from evaluation.protocols.linear import _log_frequency, fit_cell_probe, linear_label_scores
from training.diagnostics.standardizer import Standardizer

CASES = [f"case{number // 10}" for number in range(60)]


def labeled(width: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.random((80, 3)) < 0.5
    features = labels @ rng.standard_normal((3, width)) + 0.3 * rng.standard_normal((80, width))
    return (100 + features).astype(np.float32), labels


def test_standardizer_hand_computed_and_constant_columns_become_zero() -> None:
    rows = np.array([[1.0, 5.0], [3.0, 5.0]], dtype=np.float32)
    assert Standardizer.of(rows)(rows).tolist() == [[-1.0, 0.0], [1.0, 0.0]]


@pytest.mark.parametrize("width", [5, 200])
def test_separable_classes_are_found_with_few_and_with_many_features(width: int) -> None:
    features, labels = labeled(width)
    scores, chosen = linear_label_scores(features[:60], labels[:60], CASES, features[60:])
    assert average_precision(labels[60:], scores).min() > 0.85
    assert chosen.chosen_on == "train folds by case"


def test_many_features_give_what_the_full_space_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rotation onto the subspace of the frames is exact: doubling all rows avoids it and must not matter."""
    features, labels = labeled(70)
    monkeypatch.setattr(linear, "LABEL_PENALTIES", [1.0])
    reduced, _ = linear_label_scores(features[:60], labels[:60], CASES, features[60:])
    full, _ = linear_label_scores(
        np.tile(features[:60], (2, 1)), np.tile(labels[:60], (2, 1)), CASES * 2, features[60:]
    )
    assert reduced == pytest.approx(full, abs=2e-3)


def test_the_choice_does_not_see_the_test_frames() -> None:
    features, labels = labeled(5)
    choices = [
        linear_label_scores(features[:60], labels[:60], CASES, test)[1] for test in (features[60:], features[:1])
    ]
    assert choices[0] == choices[1]


def test_a_class_without_positives_or_negatives_is_no_obstacle() -> None:
    features, labels = labeled(5)
    labels[:60, 1], labels[:60, 2] = False, True
    scores, _ = linear_label_scores(features[:60], labels[:60], CASES, features[60:])
    assert np.isfinite(scores).all()
    assert (scores[:, 1] < 0).all()
    assert (scores[:, 2] > 0).all()


def cells() -> tuple[np.ndarray, np.ndarray]:
    """Frames (12, 4, 3, 5) whose cells belong to one of three classes, told by the first three channels."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, (12, 3, 5))
    one_hot = np.eye(3)[classes]
    noise = 0.1 * rng.standard_normal((12, 4, 3, 5))
    dense = 7 + np.concatenate([one_hot.transpose(0, 3, 1, 2), np.zeros((12, 1, 3, 5))], axis=1) + noise
    return dense.astype(np.float32), (100 * one_hot).astype(np.int64)


def test_cell_probe_learns_and_works_on_unstandardized_tokens() -> None:
    dense, counts = cells()
    probe, chosen = fit_cell_probe(dense[:9], counts[:9], [f"case{number // 3}" for number in range(9)], seed=0)
    predicted = probe.logits(dense[9:]).argmax(dim=1).numpy()
    assert (predicted == counts[9:].argmax(axis=3)).mean() > 0.95
    assert chosen.chosen_on == "train folds by case"


def test_a_rare_class_is_named_for_mean_iou() -> None:
    """One class holds 4 % of the cells and overlaps the other: plain argmax never names it."""
    rng = np.random.default_rng(0)
    rare = rng.random((20, 10, 10)) < 0.04
    dense = (rng.standard_normal((20, 1, 10, 10)) + 1.5 * rare[:, None]).astype(np.float32)
    counts = 9 * np.eye(2, dtype=np.int64)[rare.astype(int)]
    probe, chosen = fit_cell_probe(dense, counts, [f"case{number // 4}" for number in range(20)], seed=0)
    assert float(chosen.values["prior_shift"]) > 0
    predicted = probe.logits(dense).argmax(dim=1).numpy() == 1
    assert (predicted & rare).sum() > 0.2 * rare.sum()


def test_log_frequency_leaves_absent_classes_where_they_are() -> None:
    pixels = np.array([[3, 0, 1], [3, 0, 1]], dtype=np.float32)
    assert _log_frequency(pixels) == pytest.approx(np.log([0.75, 1.0, 0.25]))


def test_cells_without_labels_do_not_count() -> None:
    dense, counts = cells()
    spoiled, unlabeled = dense.copy(), counts.copy()
    spoiled[:, :, 0], unlabeled[:, 0] = 1e4, 0
    cases = [f"case{number // 3}" for number in range(12)]
    probe, _ = fit_cell_probe(spoiled, unlabeled, cases, seed=0)
    predicted = probe.logits(dense[:, :, 1:]).argmax(dim=1).numpy()
    assert (predicted == counts[:, 1:].argmax(axis=3)).mean() > 0.95


def test_draw_above_the_limit_is_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "CELLS_TO_FIT", 50)
    monkeypatch.setattr(linear, "CELLS_TO_CHOOSE", 20)
    dense, counts = cells()
    cases = [f"case{number // 3}" for number in range(12)]
    weights = [fit_cell_probe(dense, counts, cases, seed=seed)[0].weight.numpy() for seed in (0, 0, 1)]
    assert (weights[0] == weights[1]).all()
    assert (weights[0] != weights[2]).any()

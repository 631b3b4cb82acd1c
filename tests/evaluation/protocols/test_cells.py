import numpy as np
import pytest

from evaluation.protocols import cells as cell_probe
from evaluation.protocols.cells import _log_frequency, fit_cell_probe


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
    monkeypatch.setattr(cell_probe, "CELLS_TO_FIT", 50)
    monkeypatch.setattr(cell_probe, "CELLS_TO_CHOOSE", 20)
    dense, counts = cells()
    cases = [f"case{number // 3}" for number in range(12)]
    weights = [fit_cell_probe(dense, counts, cases, seed=seed)[0].weight.numpy() for seed in (0, 0, 1)]
    assert (weights[0] == weights[1]).all()
    assert (weights[0] != weights[2]).any()

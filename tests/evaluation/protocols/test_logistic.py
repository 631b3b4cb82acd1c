import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from evaluation.protocols.logistic import fit_logistic, log_grid


def data(rows: int = 120, width: int = 6, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((rows, width)) @ rng.standard_normal((width, width))
    labels = (features @ rng.standard_normal((width, classes)) + rng.standard_normal((rows, classes))).argmax(axis=1)
    return torch.from_numpy(features), torch.eye(classes, dtype=torch.float64)[torch.from_numpy(labels)]


@pytest.mark.parametrize("penalty", [0.001, 0.1, 10.0])
def test_sigmoid_equals_scikit_learn(penalty: float) -> None:
    features, targets = data()
    weight, bias = fit_logistic(features, targets, [penalty], loss="sigmoid", iterations=2000, tolerance=1e-9)
    for column in range(targets.shape[1]):
        reference = LogisticRegression(C=1 / (penalty * len(features)), tol=1e-10, max_iter=10_000)
        reference.fit(features.numpy(), targets[:, column].numpy())
        assert weight[0, :, column].numpy() == pytest.approx(reference.coef_[0], abs=1e-4)
        assert float(bias[0, column]) == pytest.approx(float(reference.intercept_[0]), abs=1e-4)


def test_softmax_equals_scikit_learn() -> None:
    features, targets = data()
    weight, bias = fit_logistic(features, targets, [0.01], loss="softmax", iterations=2000, tolerance=1e-9)
    reference = LogisticRegression(C=1 / (0.01 * len(features)), tol=1e-10, max_iter=10_000)
    reference.fit(features.numpy(), targets.argmax(dim=1).numpy())
    mine = torch.softmax(features @ weight[0] + bias[0], dim=1).numpy()
    assert mine == pytest.approx(reference.predict_proba(features.numpy()), abs=1e-4)


def test_several_penalties_at_once_equal_each_alone() -> None:
    features, targets = data()
    options = {"loss": "softmax", "iterations": 3000, "tolerance": 1e-8}
    weight, bias = fit_logistic(features, targets, [1.0, 0.01], **options)
    for index, penalty in enumerate([1.0, 0.01]):
        alone, alone_bias = fit_logistic(features, targets, [penalty], **options)
        assert weight[index].numpy() == pytest.approx(alone[0].numpy(), abs=1e-5)
        assert bias[index].numpy() == pytest.approx(alone_bias[0].numpy(), abs=1e-5)


def test_soft_targets_equal_their_hard_rows() -> None:
    """A row that is 1/4 class 0 and 3/4 class 1 is one row of class 0 and three of class 1."""
    features = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    soft = torch.tensor([[0.75, 0.25], [0.25, 0.75]], dtype=torch.float64)
    hard_rows = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    hard = torch.eye(2, dtype=torch.float64)[torch.tensor([0, 0, 0, 1, 0, 1, 1, 1])]
    one, _ = fit_logistic(features, soft, [0.1], loss="softmax", iterations=500, tolerance=1e-10)
    other, _ = fit_logistic(features[hard_rows], hard, [0.1], loss="softmax", iterations=500, tolerance=1e-10)
    assert one.numpy() == pytest.approx(other.numpy(), abs=1e-7)


def test_row_weights_equal_repeated_rows() -> None:
    features, targets = data(rows=20)
    weights = torch.tensor([1.0, 3.0] * 10, dtype=torch.float64)
    repeated = torch.repeat_interleave(torch.arange(20), weights.long())
    options = {"loss": "sigmoid", "iterations": 2000, "tolerance": 1e-10}
    one, _ = fit_logistic(features, targets, [0.1], row_weights=weights, **options)
    other, _ = fit_logistic(features[repeated], targets[repeated], [0.1], **options)
    assert one.numpy() == pytest.approx(other.numpy(), abs=1e-6)


def test_dependent_and_constant_columns_in_single_precision() -> None:
    features, targets = data()
    wide = torch.cat([features, features, torch.zeros(120, 2)], dim=1).float()
    weight, bias = fit_logistic(wide, targets.float(), [0.001], loss="softmax")
    assert bool(weight.isfinite().all())
    assert bool(bias.isfinite().all())


def test_without_features_only_the_bias_is_left() -> None:
    targets = torch.tensor([[1.0], [0.0], [0.0], [0.0]])
    weight, bias = fit_logistic(torch.zeros(4, 0), targets, [0.1], loss="sigmoid")
    assert weight.shape == (1, 0, 1)
    assert float(bias) == pytest.approx(np.log(1 / 3), abs=1e-3)


def test_log_grid() -> None:
    assert log_grid(100.0, 0.01, 5) == [100.0, 10.0, 1.0, 0.1, 0.01]

import numpy as np
import pytest

from training.diagnostics.ridge import PENALTIES, Moments, fit_ridge, held_out_errors

FOLDS = [np.arange(start, 60, 3) for start in range(3)]


def data(width: int, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((80, width)) * np.linspace(1, 5, width) + 20
    return inputs, inputs @ rng.standard_normal((width, 4)) / width + 3 + noise * rng.standard_normal((80, 4))


def solve(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """The normal equations of mean ||xW + b - y||² + penalty ||W||², as they stand."""
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    weight = np.linalg.inv((x - x_mean).T @ (x - x_mean) / len(x) + penalty * np.eye(x.shape[1]))
    weight = weight @ (x - x_mean).T @ (y - y_mean) / len(x)
    return weight, y_mean - x_mean @ weight


def test_errors_without_predictions_equal_those_with() -> None:
    inputs, targets = data(7)
    fit, score = Moments.of(inputs[:60], targets[:60]), Moments.of(inputs[60:], targets[60:])
    errors, constant = held_out_errors(fit, score, PENALTIES)
    for penalty, error in zip(PENALTIES, errors, strict=True):
        weight, bias = solve(inputs[:60], targets[:60], penalty)
        assert error == pytest.approx(((inputs[60:] @ weight + bias - targets[60:]) ** 2).sum(), rel=1e-6)
    assert constant == pytest.approx(((targets[60:] - targets[:60].mean(axis=0)) ** 2).sum())


@pytest.mark.parametrize("width", [7, 100])
def test_solves_the_normal_equations_at_the_chosen_penalty(width: int) -> None:
    inputs, targets = data(width)
    probe, penalty, inner = fit_ridge(inputs[:60], targets[:60], FOLDS)
    scaled = (inputs - inputs[:60].mean(axis=0)) / inputs[:60].std(axis=0)
    weight, bias = solve(scaled[:60], targets[:60], penalty)
    assert probe(inputs[60:]) == pytest.approx(scaled[60:] @ weight + bias, abs=1e-5)
    assert inner is not None
    assert penalty == PENALTIES[int(inner.argmax())]


def test_a_feature_that_hardly_moved_does_not_explode_on_other_rows() -> None:
    inputs, targets = data(7)
    inputs[:, 0] = 0
    inputs[3, 0], inputs[60:, 0] = 1e-3, 1.0  # one spark in the rows of the fit, alight in all others
    plain, floored = (fit_ridge(inputs[:60], targets[:60], FOLDS, floor=floor)[0] for floor in (0.0, 0.1))
    away = [float(((probe(inputs[60:]) - targets[60:]) ** 2).mean()) for probe in (plain, floored)]
    assert away[1] < 1 < away[0]


def test_one_number_by_hand() -> None:
    # x = ±1 is standardized already; mean xy = 2, mean xx = 1: W = 2 / (1 + penalty). One fold takes the middle one.
    x, y = np.array([[-1.0], [1.0]]), np.array([[-2.0], [2.0]])
    probe, penalty, inner = fit_ridge(x, y, [np.arange(2)])
    assert (penalty, inner) == (0.01, None)
    assert probe(np.array([[3.0]]))[0, 0] == pytest.approx(6 / 1.01)

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from evaluation.protocols.ridge import fit_ridge
from training.diagnostics.ridge import PENALTIES

CASES = [f"case{number // 10}" for number in range(60)]


def data(width: int, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((80, width)) * np.linspace(1, 5, width) + 20
    return inputs, inputs @ rng.standard_normal((width, 4)) / width + 3 + noise * rng.standard_normal((80, 4))


@pytest.mark.parametrize("width", [7, 100])
def test_equals_scikit_learn_at_the_chosen_penalty(width: int) -> None:
    inputs, targets = data(width)
    probe, chosen = fit_ridge(inputs[:60], targets[:60], CASES)
    scaled = (inputs - inputs[:60].mean(axis=0)) / inputs[:60].std(axis=0)
    model = Ridge(alpha=float(chosen.values["penalty"]) * 60).fit(scaled[:60], targets[:60])
    assert probe(inputs[60:]) == pytest.approx(model.predict(scaled[60:]), abs=1e-5)
    assert chosen.chosen_on == "train folds by case"


def test_noise_is_met_with_a_strong_penalty_and_signal_with_a_weak_one() -> None:
    inputs, targets = data(7, noise=0.0)
    shuffled = np.random.default_rng(1).permutation(targets)
    signal, noise = (fit_ridge(inputs[:60], wanted[:60], CASES)[1].values["penalty"] for wanted in (targets, shuffled))
    assert signal == min(PENALTIES)
    assert noise == max(PENALTIES)


def test_constant_targets_leave_the_middle_penalty() -> None:
    inputs, _ = data(7)
    probe, chosen = fit_ridge(inputs[:60], np.ones((60, 2)), CASES)
    assert chosen.chosen_on == "fixed before the run"
    assert probe(inputs[60:]) == pytest.approx(np.ones((20, 2)))

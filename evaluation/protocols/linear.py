"""The linear probe on pooled features: softmax over classes, logistic regression per column, ridge for values."""

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor

from evaluation.protocols.criterion import choose_held_out, columns
from evaluation.protocols.folds import draw_rows, inner_folds
from evaluation.protocols.inputs import Inputs
from evaluation.protocols.logistic import fit_logistic, log_grid
from evaluation.protocols.probe import PROBES, Probe
from evaluation.protocols.problem import Problem
from evaluation.protocols.ridge import fit_ridge_probe
from evaluation.protocols.selection import Chosen
from training.diagnostics.standardizer import Standardizer

PENALTIES = log_grid(100.0, 0.0001, 7)  # of ||W||² / 2 beside the mean loss per sample, standardised features
BALANCES = (
    0.0,
    0.5,
    1.0,
)  # exponent of 1 / class frequency as weight of a sample; 0 = all equal, 1 = all classes equal
FOLDS = 5  # for columns, as the choice is cheap
BALANCED_FOLDS = 3  # for classes, where every exponent is a fit of its own
STEPS_TO_CHOOSE = 60  # of the solver; the order of penalties is settled long before the last digit of the weights
STEPS = 100  # of the final fit
ROWS_TO_CHOOSE = 4_000  # seeded draw on either side of a fold above this; it keeps all cases, which rows depend on


def fit_linear(inputs: Inputs, problem: Problem, seed: int) -> tuple[np.ndarray, Chosen]:
    """Linear scores; the penalty, for classes together with the balance exponent, is chosen on inner folds.

    Where features outnumber samples they are rotated onto the samples' own subspace first: with an L2 penalty that
    changes nothing but the time it takes. The final fit sees all training samples.

    Args:
        inputs: whose pooled features are used.
        problem: of any kind.
        seed: of the draw of rows to choose on.

    Returns:
        float32 (N_test, C): logits, log odds, or values; and what was chosen.
    """
    if problem.target.kind == "value":
        return fit_ridge_probe(inputs, problem)
    samples, folds, chosen_on = inner_folds(problem, FOLDS if problem.target.kind == "multi" else BALANCED_FOLDS)
    train, test = _design(inputs.pooled(samples), inputs.pooled(problem.test), len(problem.train))
    targets = torch.from_numpy(columns(problem.target, samples.targets)).to(train.device)
    balances = BALANCES if problem.target.kind == "single" else BALANCES[:1]

    rng = np.random.default_rng(seed)
    held_out = np.full((len(PENALTIES), len(balances), *targets.shape), np.nan, dtype=np.float32)
    for sides in folds:
        fit, score = (torch.from_numpy(draw_rows(rng, side, ROWS_TO_CHOOSE)) for side in sides)
        for index, balance in enumerate(balances):
            weight, bias = _fit(train[fit], targets[fit], PENALTIES, balance, problem, STEPS_TO_CHOOSE)
            held_out[:, index, score.numpy()] = (train[score] @ weight + bias[:, None]).cpu().numpy()
    candidates = [{"penalty": penalty, "balance": balance} for penalty in PENALTIES for balance in balances]
    flat = held_out.reshape(len(candidates), *targets.shape)
    chosen = choose_held_out(candidates, flat, problem.target, samples.targets, chosen_on)

    count, penalty, balance = len(problem.train), float(chosen.values["penalty"]), float(chosen.values["balance"])
    weight, bias = _fit(train[:count], targets[:count], [penalty], balance, problem, STEPS)
    return (test @ weight[0] + bias[0]).cpu().numpy(), chosen


def _fit(
    rows: Tensor, targets: Tensor, penalties: list[float], balance: float, problem: Problem, steps: int
) -> tuple[Tensor, Tensor]:
    if problem.target.kind == "multi":
        return fit_logistic(rows, targets, penalties, loss="sigmoid", iterations=steps)
    frequency = targets.mean(dim=0).clamp(min=1 / len(targets))
    weights = targets @ frequency**-balance
    return fit_logistic(rows, targets, penalties, loss="softmax", row_weights=weights, iterations=steps)


def _design(features: np.ndarray, queries: np.ndarray, train: int) -> tuple[Tensor, Tensor]:
    """Features and queries standardised by the first `train` rows, on their subspace if it is the smaller space."""
    standardize = Standardizer.of(features[:train])
    rows, others = standardize(features), standardize(queries)
    if rows.shape[1] > train:
        _, spread, basis = np.linalg.svd(rows[:train], full_matrices=False)
        basis = basis[spread > 1e-5 * spread[0]]
        rows, others = rows @ basis.T, others @ basis.T
    device = PartialState().device
    return torch.from_numpy(rows).to(device), torch.from_numpy(others).to(device)


PROBES.register("linear")(Probe("linear", ("single", "multi", "value"), temporal=False, causal=None, fit=fit_linear))

"""Ridge regression, its penalty chosen on inner folds: from tokens to tokens, and the linear probe of values."""

from collections.abc import Sequence

import numpy as np

from evaluation.protocols.criterion import CRITERIA
from evaluation.protocols.folds import case_folds, inner_folds
from evaluation.protocols.inputs import Inputs
from evaluation.protocols.problem import Problem
from evaluation.protocols.selection import Chosen, choose
from training.diagnostics.ridge import PENALTIES, Moments, RidgeProbe, held_out_errors
from training.diagnostics.ridge import fit_ridge as fit
from training.diagnostics.standardizer import Standardizer

FOLDS = 3
PROBE_FOLDS = 5  # of the probe of values: such datasets are small, so that folds are cheap and cases are dear


def fit_ridge(inputs: np.ndarray, targets: np.ndarray, cases: Sequence[str]) -> tuple[RidgeProbe, Chosen]:
    """Fit a probe; the penalty comes from folds over training cases.

    Args:
        inputs: (N, D) float.
        targets: (N, T) float.
        cases: case of each row.

    Returns:
        The probe, and what was chosen.
    """
    probe, _, inner = fit(inputs, targets, [score for _, score in case_folds(cases, FOLDS)])
    chosen = choose([{"penalty": penalty} for penalty in PENALTIES], inner, "R² over pooled held-out folds")
    return probe, chosen


def fit_ridge_probe(inputs: Inputs, problem: Problem) -> tuple[np.ndarray, Chosen]:
    """Values by ridge regression on pooled features, each value in units of its training deviation.

    Returns:
        float32 (N_test, C), and the penalty. Nothing is drawn: sums of products are all that a fold needs.
    """
    samples, folds, chosen_on = inner_folds(problem, PROBE_FOLDS)
    count = len(problem.train)
    features = inputs.pooled(samples)
    standardize, unit = Standardizer.of(features[:count]), Standardizer.of(problem.train.targets)
    rows, wanted = standardize(features), unit(samples.targets)
    if rows.shape[1] > count:  # the solution lies in the subspace of the training rows
        _, spread, basis = np.linalg.svd(rows[:count], full_matrices=False)
        rows = rows @ basis[spread > 1e-5 * spread[0]].T
    errors, constant = np.zeros(len(PENALTIES)), 0.0
    for sides in folds:
        fitted, held_out = (Moments.of(rows[side], wanted[side]) for side in sides)
        fold_errors, fold_constant = held_out_errors(fitted, held_out, PENALTIES)
        errors, constant = errors + fold_errors, constant + fold_constant
    inner = 1 - errors / constant if constant > 0 else np.full(len(PENALTIES), np.nan)
    candidates = [{"penalty": penalty} for penalty in PENALTIES]
    chosen = choose(candidates, inner if folds else None, CRITERIA["value"], chosen_on)
    probe, _, _ = fit(features[:count], problem.train.targets, [], [float(chosen.values["penalty"])])
    return probe(inputs.pooled(problem.test)), chosen

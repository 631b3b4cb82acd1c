"""The ridge probe from one set of tokens to another, its penalty chosen on folds over training cases."""

from collections.abc import Sequence

import numpy as np

from evaluation.protocols.folds import case_folds
from evaluation.protocols.selection import Chosen, choose
from training.diagnostics.ridge import PENALTIES, RidgeProbe
from training.diagnostics.ridge import fit_ridge as fit

FOLDS = 3


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

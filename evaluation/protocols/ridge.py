"""Ridge regression from one set of tokens to another, for several penalties at the price of one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.protocols.folds import case_folds
from evaluation.protocols.linear import Standardizer
from evaluation.protocols.logistic import log_grid
from evaluation.protocols.selection import Chosen, choose

PENALTIES = log_grid(10.0, 0.0001, 6)  # of ||W||² beside the mean squared error, standardized inputs
FOLDS = 3


@dataclass(frozen=True)
class RidgeProbe:
    """A linear map from inputs (N, D) to targets (N, T)."""

    standardize: Standardizer
    weight: np.ndarray  # (D, T)
    bias: np.ndarray  # (T,): the mean target, what the constant predictor says

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Predictions (N, T), float64."""
        return self.standardize(inputs).astype(np.float64) @ self.weight + self.bias


@dataclass(frozen=True)
class _Moments:
    """Sums over rows from which any fold's solution follows: rows, Σx, Σy, XᵀX, XᵀY, Σ||y||²."""

    rows: float
    x: np.ndarray
    y: np.ndarray
    xx: np.ndarray
    xy: np.ndarray
    yy: float

    def __sub__(self, other: "_Moments") -> "_Moments":
        return _Moments(
            self.rows - other.rows,
            self.x - other.x,
            self.y - other.y,
            self.xx - other.xx,
            self.xy - other.xy,
            self.yy - other.yy,
        )

    def centered_on(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """XᵀX, XᵀY and Σ||y||² of rows with `x` and `y` subtracted."""
        xx = self.xx - np.outer(self.x, x) - np.outer(x, self.x) + self.rows * np.outer(x, x)
        xy = self.xy - np.outer(self.x, y) - np.outer(x, self.y) + self.rows * np.outer(x, y)
        return xx, xy, float(self.yy - 2 * self.y @ y + self.rows * y @ y)


def fit_ridge(inputs: np.ndarray, targets: np.ndarray, cases: Sequence[str]) -> tuple[RidgeProbe, Chosen]:
    """Minimise mean_n ||x_n W + b - y_n||² + penalty ||W||²; the penalty comes from folds over training cases.

    Closed form: with C = XᵀX / N = V diag(e) Vᵀ of centered rows, W = V diag(1 / (e + penalty)) Vᵀ XᵀY / N.

    Args:
        inputs: (N, D) float.
        targets: (N, T) float.
        cases: case of each row.

    Returns:
        The probe, and what was chosen.
    """
    standardize = Standardizer.of(inputs)
    rows, basis = standardize(inputs).astype(np.float64), None
    if rows.shape[1] > rows.shape[0]:  # the solution lies in the subspace of the rows
        _, spread, basis = np.linalg.svd(rows, full_matrices=False)
        basis = basis[spread > 1e-9 * spread[0]]
        rows = rows @ basis.T
    wanted = targets.astype(np.float64)
    total = _moments(rows, wanted)
    folds = list(case_folds(cases, FOLDS))
    errors, constant = np.zeros(len(PENALTIES)), 0.0
    for _, score in folds:
        held_out = _moments(rows[score], wanted[score])
        fold_errors, fold_constant = _held_out_errors(total - held_out, held_out)
        errors, constant = errors + fold_errors, constant + fold_constant
    inner = 1 - errors / constant if folds and constant > 0 else None
    chosen = choose([{"penalty": penalty} for penalty in PENALTIES], inner, "R² over pooled held-out folds")
    xx, xy, _ = total.centered_on(total.x / total.rows, total.y / total.rows)
    regular = xx / total.rows + float(chosen.values["penalty"]) * np.eye(len(xx))
    weight = np.linalg.solve(regular, xy / total.rows)
    bias = total.y / total.rows - (total.x / total.rows) @ weight
    return RidgeProbe(standardize, weight if basis is None else basis.T @ weight, bias), chosen


def _moments(x: np.ndarray, y: np.ndarray) -> _Moments:
    return _Moments(float(len(x)), x.sum(axis=0), y.sum(axis=0), x.T @ x, x.T @ y, float((y**2).sum()))


def _held_out_errors(fit: _Moments, score: _Moments) -> tuple[np.ndarray, float]:
    """Squared error on `score` of the fit for every penalty, and of the constant predictor, without one prediction.

    In the eigenbasis of the fit W = diag(d) c with c = VᵀXᵀY / N and d = 1 / (e + penalty), so the error is
    Σ||y||² - 2 d · rowsum(c ∘ VᵀXᵀY') + dᵀ (VᵀXᵀX'V ∘ ccᵀ) d, with primes for the held-out rows.
    """
    x, y = fit.x / fit.rows, fit.y / fit.rows
    xx, xy, _ = fit.centered_on(x, y)
    values, vectors = np.linalg.eigh(xx / fit.rows)
    coefficients = vectors.T @ xy / fit.rows
    held_xx, held_xy, constant = score.centered_on(x, y)
    linear = (coefficients * (vectors.T @ held_xy)).sum(axis=1)
    quadratic = (vectors.T @ held_xx @ vectors) * (coefficients @ coefficients.T)
    shrink = 1 / (np.maximum(values, 0)[None] + np.array(PENALTIES)[:, None])  # (P, D)
    return constant - 2 * shrink @ linear + np.einsum("pi,ij,pj->p", shrink, quadratic, shrink), constant

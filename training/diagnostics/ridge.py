"""Ridge regression from one set of tokens to another, for several penalties at the price of one."""

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from training.diagnostics.standardizer import Standardizer

PENALTIES = tuple(float(10.0**power) for power in range(1, -5, -1))  # of ||W||² beside the mean squared error


@dataclass(frozen=True)
class RidgeProbe:
    """A linear map from inputs (N, D) to targets (N, T)."""

    standardize: Standardizer
    weight: np.ndarray  # (D, T)
    bias: np.ndarray  # (T,): the mean target, what the constant predictor says

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Predictions (N, T), in the type of the inputs."""
        return self.standardize(inputs) @ self.weight.astype(inputs.dtype) + self.bias.astype(inputs.dtype)


class Moments(NamedTuple):
    """Sums over rows from which any fold's solution follows."""

    rows: float
    x: np.ndarray  # Σx, (D,)
    y: np.ndarray  # Σy, (T,)
    xx: np.ndarray  # XᵀX, (D, D)
    xy: np.ndarray  # XᵀY, (D, T)
    yy: float  # Σ||y||²

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray) -> "Moments":
        """Products in the type of the tokens, which is quick; everything after them in float64."""
        xx, xy = ((x.T @ other).astype(np.float64) for other in (x, y))
        sums = [part.sum(axis=0, dtype=np.float64) for part in (x, y)]
        return cls(float(len(x)), sums[0], sums[1], xx, xy, float((y.astype(np.float64) ** 2).sum()))

    def plus(self, other: "Moments") -> "Moments":
        """Of both sets of rows together."""
        return Moments(*map(operator.add, self, other))

    def without(self, other: "Moments") -> "Moments":
        """Of the rows that are not in `other`, a part of these."""
        return Moments(*map(operator.sub, self, other))

    def centered_on(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """XᵀX, XᵀY and Σ||y||² of rows with `x` and `y` subtracted."""
        xx = self.xx - np.outer(self.x, x) - np.outer(x, self.x) + self.rows * np.outer(x, x)
        xy = self.xy - np.outer(self.x, y) - np.outer(x, self.y) + self.rows * np.outer(x, y)
        return xx, xy, float(self.yy - 2 * self.y @ y + self.rows * y @ y)


def fit_ridge(
    inputs: np.ndarray,
    targets: np.ndarray,
    folds: Sequence[np.ndarray],
    penalties: Sequence[float] = PENALTIES,
    floor: float = 0.0,
) -> tuple[RidgeProbe, float, np.ndarray | None]:
    """Minimise mean_n ||x_n W + b - y_n||² + penalty ||W||², with the penalty that predicts held-out folds best.

    Closed form: with C = XᵀX / N = V diag(e) Vᵀ of standardized rows, W = V diag(1 / (e + penalty)) Vᵀ XᵀY / N.

    Args:
        inputs: (N, D) float.
        targets: (N, T) float.
        folds: rows of each fold, int; every row in one. With fewer than 2 folds the middle penalty is taken.
        penalties: to choose from, the largest first.
        floor: see `Standardizer.of`.

    Returns:
        The probe, its penalty, and R² over the pooled held-out folds of each of the penalties; `None` where it is not
        defined.
    """
    standardize = Standardizer.of(inputs, floor)
    rows, basis = standardize(inputs), None
    if rows.shape[1] > rows.shape[0]:  # the solution lies in the subspace of the rows
        _, spread, basis = np.linalg.svd(rows, full_matrices=False)
        basis = basis[spread > 1e-5 * spread[0]]
        rows = rows @ basis.T
    mean = targets.mean(axis=0)
    wanted = targets - mean  # near zero, so that sums of squares keep their digits
    parts = [Moments.of(rows[fold], wanted[fold]) for fold in folds] or [Moments.of(rows, wanted)]
    total = functools.reduce(Moments.plus, parts)
    errors, constant = np.zeros(len(penalties)), 0.0
    for held_out in parts if len(parts) > 1 else []:
        fold_errors, fold_constant = held_out_errors(total.without(held_out), held_out, penalties)
        errors, constant = errors + fold_errors, constant + fold_constant
    inner = 1 - errors / constant if constant > 0 else None
    penalty = penalties[len(penalties) // 2 if inner is None else int(inner.argmax())]
    xx, xy, _ = total.centered_on(total.x / total.rows, total.y / total.rows)
    weight = np.linalg.solve(xx / total.rows + penalty * np.eye(len(xx)), xy / total.rows)
    bias = mean + total.y / total.rows - (total.x / total.rows) @ weight
    return RidgeProbe(standardize, weight if basis is None else basis.T @ weight, bias), penalty, inner


def held_out_errors(fit: Moments, score: Moments, penalties: Sequence[float]) -> tuple[np.ndarray, float]:
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
    shrink = 1 / (np.maximum(values, 0)[None] + np.array(penalties)[:, None])  # (P, D)
    return constant - 2 * shrink @ linear + np.einsum("pi,ij,pj->p", shrink, quadratic, shrink), constant

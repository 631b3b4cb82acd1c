"""Logistic regression for several penalties at once: sigmoid per class or softmax, soft targets allowed."""

import math
from typing import Literal

import torch
from torch import Tensor

_CURVATURE = {"sigmoid": 0.25, "softmax": 0.5}  # upper bounds of the loss's second derivative (Böhning 1992)


def fit_logistic(
    features: Tensor,
    targets: Tensor,
    penalties: list[float],
    *,
    loss: Literal["sigmoid", "softmax"],
    row_weights: Tensor | None = None,
    iterations: int = 100,
    tolerance: float = 1e-4,
) -> tuple[Tensor, Tensor]:
    """Minimise mean_n loss(x_n W + b, y_n) + penalty / 2 · ||W||² for every penalty; b is not penalised.

    The second derivative of either loss is bounded by a constant c, so c · XᵀX / N + penalty · I bounds the Hessian for
    any W. Its inverse, computed once per penalty, is the metric of accelerated gradient steps (Nesterov, with
    restart when momentum points uphill): no step size to tune, and two matrix products per step.

    Args:
        features: (N, D) float; standardise first.
        targets: (N, C) in [0, 1]; rows sum to 1 for "softmax".
        penalties: P positive numbers.
        loss: "sigmoid": binary cross-entropy summed over classes; "softmax": cross-entropy.
        row_weights: (N,) non-negative weights, or None for ones.
        iterations: most steps taken.
        tolerance: stop once no gradient entry exceeds it.

    Returns:
        W (P, D, C) and b (P, C), in the type of `features`.
    """
    rows, width = features.shape
    classes, strengths = targets.shape[1], len(penalties)
    weights = features.new_ones(rows) if row_weights is None else row_weights.to(features.dtype)
    weights = weights / weights.sum()
    design = torch.cat([features, features.new_ones(rows, 1)], dim=1)  # (N, D + 1), last column for b
    penalty = torch.tensor(penalties, dtype=features.dtype, device=features.device)[:, None].repeat(1, width + 1)
    penalty[:, -1] = 0.0
    gram = (design * weights[:, None]).T @ design
    # Rounding may make the Gram matrix of dependent columns slightly indefinite; a larger bound is a bound as well.
    jitter = 10 * torch.finfo(gram.dtype).eps * torch.diagonal(gram).sum()
    bound = _CURVATURE[loss] * gram + torch.diag_embed(penalty + jitter)  # (P, D + 1, D + 1)
    metric = torch.cholesky_inverse(torch.linalg.cholesky(bound))  # only steers the steps, so its rounding is harmless

    current = torch.zeros(strengths, width + 1, classes, dtype=features.dtype, device=features.device)
    ahead, momentum = current, torch.ones(strengths, 1, 1, dtype=features.dtype, device=features.device)
    flat_weights = weights[:, None, None]
    for _ in range(iterations):
        scores = design @ ahead.permute(1, 0, 2).reshape(width + 1, strengths * classes)  # (N, P * C)
        scores = scores.view(rows, strengths, classes)
        predicted = torch.sigmoid(scores) if loss == "sigmoid" else torch.softmax(scores, dim=2)
        residual = ((predicted - targets[:, None]) * flat_weights).reshape(rows, strengths * classes)
        # (residualᵀ @ design)ᵀ instead of designᵀ @ residual: the same numbers, ten times as fast with few columns.
        gradient = (residual.T @ design).T.reshape(width + 1, strengths, classes).permute(1, 0, 2)
        gradient = gradient + penalty[..., None] * ahead
        if float(gradient.abs().max()) < tolerance:
            current = ahead
            break
        following = ahead - metric @ gradient
        uphill = (gradient * (following - current)).sum(dim=(1, 2), keepdim=True) > 0
        momentum = torch.where(uphill, torch.ones_like(momentum), momentum)
        grown = (1 + torch.sqrt(1 + 4 * momentum**2)) / 2
        ahead = following + torch.where(uphill, 0.0, (momentum - 1) / grown) * (following - current)
        current, momentum = following, grown
    return current[:, :-1], current[:, -1]


def log_grid(low: float, high: float, steps: int) -> list[float]:
    """`steps` numbers from `low` to `high`, equally far apart on a logarithmic axis."""
    return [
        round(10 ** (math.log10(low) + i * (math.log10(high) - math.log10(low)) / (steps - 1)), 10)
        for i in range(steps)
    ]

"""Squared angle of summary vectors, divided by how widely a teacher's summaries spread."""

import math

import torch
from torch import Tensor

from training.errors import UserError
from training.losses.registry import SUMMARY_LOSSES

# Inside the norms: far below any feature norm, and its square is still a normal float32.
EPSILON = 1e-6
# θ² is steeper and steeper per unit of cosine near π (-150 at 3.1, infinite at π): there the loss is flat instead.
MAX_ANGLE = 3.1


@SUMMARY_LOSSES.register("angle")
def angle(
    prediction: Tensor, target: Tensor, valid_mask: Tensor | None = None, *, dispersion: float | Tensor
) -> Tensor:
    """Squared angle per image in units of the teacher's own dispersion.

    L = θ(x, y)² / Disp, with θ clamped at 3.1 rad, where its gradient is zero.

    Disp is the mean squared angle to the best constant direction (`dispersion`), so predicting that direction scores 1
    on average over the calibration data, for every teacher: a teacher whose summaries lie in a narrow cone teaches as
    loudly as one whose summaries fill the sphere.

    Args:
        prediction: x, `(B, D)`; its length does not matter.
        target: y, `(B, D)`.
        valid_mask: bool `(B,)`; false images count neither in the value nor in the gradient, even if they are NaN.
        dispersion: Disp in rad², positive.

    Returns:
        float32 `(B,)`, computed in float32 (float64 for float64 inputs). 0 for a masked image.

    Raises:
        ValueError: shapes that do not fit.

    Source: C-RADIOv4, arXiv 2601.17237 (balanced summary loss).

    Example:
        x = [1, 0], y = [0, 2], Disp = 1: θ = π/2, L = 2.4674.
    """
    if prediction.ndim != 2 or prediction.shape != target.shape:
        raise ValueError(f"expected two (B, D) tensors, got {tuple(prediction.shape)} and {tuple(target.shape)}")
    if valid_mask is None:
        return angle_between(prediction, target).clamp(max=MAX_ANGLE).square() / dispersion
    if valid_mask.shape != prediction.shape[:1] or valid_mask.dtype != torch.bool:
        raise ValueError(
            f"valid_mask must be bool {tuple(prediction.shape[:1])}, got {valid_mask.dtype} {tuple(valid_mask.shape)}"
        )
    # Replaced before the arithmetic: a NaN in a masked image would come back through the gradient.
    masked = ~valid_mask[:, None]
    theta = angle_between(prediction.masked_fill(masked, 1), target.masked_fill(masked, 1))
    return (theta.clamp(max=MAX_ANGLE).square() / dispersion).masked_fill(~valid_mask, 0)


def angle_between(first: Tensor, second: Tensor) -> Tensor:
    """Angles θ = 2·atan2(‖u - v‖, ‖u + v‖) of the unit vectors u, v, in radians.

    Exact to float32 rounding from 0 to π, where arccos of a cosine loses every angle below 3e-4, and differentiable at
    both ends: ε = 1e-6 stands inside the norms. A zero vector is at π/2 to everything.

    Args:
        first: `(..., D)`.
        second: `(..., D)`.

    Returns:
        `(...)`, computed in float32 (float64 for float64 inputs).

    Source: W. Kahan, "How futile are mindless assessments of roundoff in floating-point computation?" (2006).
    """
    precise = torch.float64 if torch.float64 in (first.dtype, second.dtype) else torch.float32
    u, v = _unit(first.to(precise)), _unit(second.to(precise))
    return 2 * torch.atan2(_norm(u - v), _norm(u + v))


def dispersion(targets: Tensor) -> float:
    """Disp = E[θ(y, μ)²] in rad² for the best constant direction μ of `targets` `(N, D)`.

    Raises:
        UserError: no targets, NaN among them, or no spread at all (the loss would divide by zero).
    """
    targets = targets.detach().cpu().double()
    direction = best_constant_direction(targets)
    value = float(angle_between(targets, direction.expand_as(targets)).square().mean())
    if value < 1e-8:
        raise UserError(f"all {len(targets)} summaries of this teacher point in one direction; look at its input")
    return value


@torch.no_grad()
def best_constant_direction(targets: Tensor, max_steps: int = 50) -> Tensor:
    """The unit vector μ with the smallest E[θ(y, μ)²]: the Fréchet mean of the directions on the sphere.

    Starts at the normalised mean of the unit vectors and walks μ ← exp_μ(mean of log_μ(y)), in float64, as long as that
    lowers the value. With centred targets the mean of the unit vectors may vanish; then the start is the direction that
    is most nearly at right angles to all of them.

    Args:
        targets: `(N, D)`.
        max_steps: bound on the walk; it ends much earlier, when a step turns μ by less than 1e-6 rad.

    Returns:
        float `(D,)` of the type of `targets`.

    Raises:
        UserError: no targets, or NaN or infinite values among them.

    Source: H. Karcher, "Riemannian center of mass and mollifier smoothing" (1977).
    """
    if len(targets) == 0 or not bool(targets.isfinite().all()):
        raise UserError(f"cannot average the directions of {len(targets)} summaries: none, or NaN among them")
    units = _unit(targets.detach().cpu().double())  # not every device has float64
    mean = units.mean(dim=0)
    length = float(mean.norm())
    best = mean / length if length > 1e-9 else torch.linalg.eigh(units.T @ units).eigenvectors[:, 0]
    cosine = (units @ best).clamp(-1, 1)  # (N, D) -> (N,)
    theta = cosine.acos()  # float64 from unit vectors: exact enough to walk by
    lowest = float(theta.square().mean())
    for _ in range(max_steps):
        # log_μ(y) = (y - cos θ · μ) · θ / sin θ, the tangent at μ towards y of length θ; θ / sin θ -> 1 at θ = 0
        stretch = torch.where(theta > 1e-6, theta / theta.sin().clamp(min=1e-9), 1.0)
        step = stretch @ units / len(units) - (stretch * cosine).mean() * best
        turn = float(step.norm())
        if turn < 1e-6:
            break
        candidate = math.cos(turn) * best + math.sin(turn) * step / turn
        candidate = candidate / candidate.norm()
        cosine = (units @ candidate).clamp(-1, 1)
        theta = cosine.acos()
        value = float(theta.square().mean())
        if value >= lowest:
            break
        best, lowest = candidate, value
    return best.to(targets.device, targets.dtype)


def _unit(vectors: Tensor) -> Tensor:
    return vectors / _norm(vectors)[..., None]


def _norm(vectors: Tensor) -> Tensor:
    """Euclidean length over the last axis with ε inside the root, so that its gradient exists at 0."""
    return (vectors.square().sum(dim=-1) + EPSILON**2).sqrt()

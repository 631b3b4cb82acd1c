"""The constant prediction that a loss likes best: what every student has to beat."""

import torch
from torch import Tensor

from training.errors import UserError
from training.losses.registry import Loss


def best_constant(loss: Loss, targets: Tensor) -> Tensor:
    """The vector c `(D,)` with the lowest mean loss when it is predicted for all of `targets` `(N, D)`.

    Found by LBFGS in float64, from just beside the mean of the targets in the mean of their directions: the first is
    the best constant of the squared error, the second that of the cosine, and a mixture of both lies between. A loss
    that only compares tokens with each other likes all constants alike.

    Args:
        loss: on `(N, D)` and `(N, D)`, one value per row.
        targets: normalised, any float type.

    Returns:
        float `(D,)` of the type of `targets`.

    Raises:
        UserError: no targets, or NaN or infinite values among them.
    """
    if len(targets) == 0 or not bool(targets.isfinite().all()):
        raise UserError(f"no constant prediction can be found for {len(targets)} targets: none, or NaN among them")
    exact = targets.detach().cpu().double()  # not every device has float64
    lengths = exact.norm(dim=1, keepdim=True).clamp(min=1e-12)
    constant = (exact.mean(dim=0) + 0.01 * lengths.mean() * (exact / lengths).mean(dim=0)).requires_grad_(True)
    optimizer = torch.optim.LBFGS([constant], max_iter=50, tolerance_grad=1e-6, line_search_fn="strong_wolfe")

    def value() -> Tensor:
        optimizer.zero_grad()
        mean = loss(constant.expand_as(exact), exact).mean()
        mean.backward()
        return mean

    with torch.enable_grad():
        optimizer.step(value)
    return constant.detach().to(targets.device, targets.dtype)

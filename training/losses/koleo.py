"""KoLeo: pushes every vector of a batch away from its nearest neighbour, so that they fill the sphere."""

import torch
from torch import Tensor

from training.losses.tokens import unit


def koleo(features: Tensor, groups: Tensor | None = None, valid_mask: Tensor | None = None) -> Tensor:
    """Differential entropy of the directions of a batch by the estimator of Kozachenko and Leonenko, per image.

    L_i = -log ‖u_i - u_n(i)‖, with u = x / ‖x‖ and u_n(i) its nearest neighbour among the vectors of other groups.

    Args:
        features: x, `(B, D)`.
        groups: int `(B,)`; vectors of one group, such as frames of one clip, are alike for a good reason and no
            neighbours of each other. `None`: each is alone.
        valid_mask: bool `(B,)`; false vectors count neither in the value nor in the gradient, even if they are NaN.

    Returns:
        float32 `(B,)`, computed in float32 (float64 for float64 inputs), from -log 2 upwards; at most 13.8, because
        ε = 1e-6 stands beside the distance. 0 for a vector that is masked or has no neighbour.

    Raises:
        ValueError: shapes that do not fit.

    Source: Sablayrolles et al., "Spreading vectors for similarity search", arXiv 1806.03198, equation 3; a part of
    DINOv2, arXiv 2304.07193, section 4.

    Example:
        x = [1, 0], [0, 2]: both distances are √2, L = -0.3466 each.
    """
    if features.ndim != 2:
        raise ValueError(f"expected (B, D), got {tuple(features.shape)}")
    count = len(features)
    for name, column in (("groups", groups), ("valid_mask", valid_mask)):
        if column is not None and column.shape != (count,):
            raise ValueError(f"{name} must be ({count},), got {tuple(column.shape)}")
    x = features if features.dtype == torch.float64 else features.float()
    neighbours = ~torch.eye(count, dtype=torch.bool, device=x.device)
    if groups is not None:
        neighbours = neighbours & (groups[:, None] != groups[None, :])
    if valid_mask is not None:
        x = x.masked_fill(~valid_mask[:, None], 1)
        neighbours = neighbours & valid_mask[:, None] & valid_mask[None, :]
    u = unit(x)
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        nearest = (u @ u.T).masked_fill(~neighbours, -torch.inf).argmax(dim=1)
    # ε² inside the root, because its gradient at two equal vectors would be infinite.
    distance = ((u - u[nearest]).square().sum(dim=1) + 1e-12).sqrt()
    return (-distance.log()).masked_fill(~neighbours.any(dim=1), 0)

"""Relational distillation of summaries that never pulls what is near apart, nor pushes what is far together."""

import torch
import torch.nn.functional as F
from torch import Tensor

from training.losses.tokens import unit


def relational(prediction: Tensor, target: Tensor, valid_mask: Tensor | None = None) -> Tensor:
    """Pairwise distances of the student against the teacher's, gated at the median, per image.

    With D the euclidean distance of unit vectors and m the median of the teacher's distances over all pairs of the
    batch: near pairs (D_T < m) cost SL1(max(D_S - D_T, 0)), far pairs SL1(max(D_T - D_S, 0)); the loss of an image is
    the mean over its pairs. A student may be tighter where the teacher is tight, and wider where it is wide.

    Args:
        prediction: x, `(B, D)`; its length does not matter.
        target: y, `(B, E)`.
        valid_mask: bool `(B,)`; false images are in no pair, even if they are NaN.

    Returns:
        float32 `(B,)` (float64 for float64 inputs). 0 for a masked image, and where less than two are left.

    Raises:
        ValueError: shapes that do not fit.

    Source: asymmetric relational knowledge distillation of AMoE, arXiv 2512.20157; relational distillation of Park et
    al., arXiv 1904.05068.

    Example:
        Three images, y at 0, 60 and 180 degrees: D_T = 1, √3, 2, m = √3. Student at 0, 90 and 180: D_S = √2, √2, 2.
        The near pair costs SL1(√2 - 1) = 0.0858, the pair at the median is far and costs SL1(√3 - √2) = 0.0505, the
        third 0; L = 0.0429, 0.0681, 0.0253.
    """
    if prediction.ndim != 2 or target.ndim != 2 or len(prediction) != len(target):
        raise ValueError(f"expected (B, D) and (B, E), got {tuple(prediction.shape)} and {tuple(target.shape)}")
    if valid_mask is not None and (valid_mask.shape != prediction.shape[:1] or valid_mask.dtype != torch.bool):
        raise ValueError(
            f"valid_mask must be bool {tuple(prediction.shape[:1])}, got {valid_mask.dtype} {tuple(valid_mask.shape)}"
        )
    kind = torch.float64 if torch.float64 in (prediction.dtype, target.dtype) else torch.float32
    count = len(prediction)
    valid = torch.ones(count, dtype=torch.bool, device=target.device) if valid_mask is None else valid_mask
    x, y = (unit(each.to(kind).masked_fill(~valid[:, None], 1)) for each in (prediction, target))
    pairs = torch.triu(valid[:, None] & valid[None, :], diagonal=1)
    first, second = pairs.nonzero(as_tuple=True)
    if not len(first):
        return x.sum(dim=1) * 0
    student, teacher = ((each[first] - each[second]).square().sum(-1).add(1e-12).sqrt() for each in (x, y))
    near = teacher < teacher.median()
    excess = torch.where(near, student - teacher, teacher - student).clamp(min=0)
    cost = F.smooth_l1_loss(excess, torch.zeros_like(excess), reduction="none")
    sums = cost.new_zeros(count).index_add(0, first, cost).index_add(0, second, cost)
    return sums / max(int(valid.sum()) - 1, 1)

"""Relational distillation of summaries that never pulls what is near apart, nor pushes what is far together."""

import torch
import torch.nn.functional as F
from torch import Tensor

from training.losses.tokens import similarities

# Inside the root: distances below 0.001 count as equal, and the slope of the root stays finite.
EPSILON = 1e-6


def relational(prediction: Tensor, target: Tensor, valid_mask: Tensor | None = None) -> Tensor:
    """Pairwise distances of the student against the teacher's, gated at the median, per image.

    With D the euclidean distance of unit vectors and m the median of the teacher's distances over all pairs of the
    batch (of one process): near pairs (D_T < m) cost SL1(max(D_S - D_T, 0)), far pairs SL1(max(D_T - D_S, 0)); the
    loss of an image is the mean over its pairs. A student may be tighter where the teacher is tight, and wider where it
    is wide.

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
    # Replaced before the arithmetic: a NaN in a masked image would come back through the gradient.
    student, teacher = (_distances(each, kind, valid) for each in (prediction, target))
    pairs = valid[:, None] & valid[None, :] & ~torch.eye(count, dtype=torch.bool, device=valid.device)
    excess = torch.where(teacher < _median(teacher, pairs.triu()), student - teacher, teacher - student).clamp(min=0)
    cost = F.smooth_l1_loss(excess, torch.zeros_like(excess), reduction="none").masked_fill(~pairs, 0)
    return cost.sum(dim=1) / (valid.sum() - 1).clamp(min=1)


def _distances(vectors: Tensor, kind: torch.dtype, valid: Tensor) -> Tensor:
    """Euclidean distances of unit vectors, `(B, D) -> (B, B)`, √(2 - 2 cos); their gradient exists at 0."""
    cosines = similarities(vectors.to(kind).masked_fill(~valid[:, None], 1)[None])[0]
    return ((2 - 2 * cosines).clamp(min=0) + EPSILON).sqrt()


def _median(values: Tensor, chosen: Tensor) -> Tensor:
    """Median of the chosen values, a scalar; infinite if there are none. It does not wait for the device."""
    ascending = values.masked_fill(~chosen, torch.inf).flatten().sort().values
    count = chosen.sum()
    middle = torch.stack([(count - 1).clamp(min=0) // 2, count // 2])
    return ascending.gather(0, middle).mean()

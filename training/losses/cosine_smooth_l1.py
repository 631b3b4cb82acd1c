"""Cosine distance and smooth L1 of tokens in a fixed mixture."""

import torch.nn.functional as F
from torch import Tensor

from training.losses.cosine import cosine
from training.losses.registry import DENSE_LOSSES, SUMMARY_LOSSES
from training.losses.tokens import as_tokens, mean_over_tokens, precise


@SUMMARY_LOSSES.register("cosine_smooth_l1")
@DENSE_LOSSES.register("cosine_smooth_l1")
def cosine_smooth_l1(
    prediction: Tensor, target: Tensor, valid_mask: Tensor | None = None, *, share: float = 0.1, beta: float = 1.0
) -> Tensor:
    """Direction mostly, length a little, per image.

    L = (1 - a)·(1 - cos(x, y)) + a·SL1_β(x - y), averaged over the valid tokens; SL1_β(d) is d²/(2β) below β in
    magnitude and |d| - β/2 above, averaged over the width.

    Args:
        prediction: x, `(B, N, D)`, or summaries `(B, D)`: one token an image.
        target: y, of the shape of x, standardised per coordinate: the second term compares coordinates as they are.
        valid_mask: bool `(B, N)`, or `(B,)`; false tokens count neither in the value nor in the gradient, even if
            they are NaN.
        share: a, of the second term; 0.1 in AM-RADIO, Theia and EUPE.
        beta: β.

    Returns:
        float32 `(B,)` (float64 for float64 inputs). 0 for an image without a valid token.

    Raises:
        ValueError: shapes that do not fit.

    Source: the dense loss of AM-RADIO, arXiv 2312.06709, and Theia, arXiv 2407.20179.

    Example:
        One token, x = [1, 0], y = [0, 3]: cosine distance 1, SL1 = (0.5 + 2.5) / 2 = 1.5, L = 0.9 + 0.15 = 1.05.
    """
    prediction, target, valid_mask = as_tokens(prediction, target, valid_mask)
    direction = cosine(prediction, target, valid_mask)
    x, y = precise(prediction, target, valid_mask)
    length = F.smooth_l1_loss(x, y, reduction="none", beta=beta).mean(dim=-1)  # (B, N, D) -> (B, N)
    return (1 - share) * direction + share * mean_over_tokens(length, valid_mask)

"""Mean squared error of tokens."""

import torch
from torch import Tensor

from training.losses.registry import DENSE_LOSSES, SUMMARY_LOSSES
from training.losses.tokens import as_tokens, check_tokens


@SUMMARY_LOSSES.register("mse")
@DENSE_LOSSES.register("mse")
def mse(prediction: Tensor, target: Tensor, valid_mask: Tensor | None = None) -> Tensor:
    """Mean squared error per image, over the width and then over the valid tokens.

    L = (1/|V|) Σ_{n∈V} (1/D) Σ_d (x_nd - y_nd)²

    On targets of variance 1 per coordinate (normalizers `phi_s` and `standardize`) predicting the mean scores 1 on
    average over the calibration data, so 1 - L is explained variance. Tokens are averaged per image first, so that
    images with more tokens weigh no more than others.

    Args:
        prediction: x, `(B, N, D)`, or summaries `(B, D)`: one token an image.
        target: y, of the shape of x, normalised.
        valid_mask: bool `(B, N)`, or `(B,)`; false tokens count neither in the value nor in the gradient, even if
            they are NaN.

    Returns:
        float32 `(B,)`, computed in float32 (float64 for float64 inputs). 0 for an image without a valid token.

    Raises:
        ValueError: shapes that do not fit.

    Source: plain MSE on PHI-S targets, arXiv 2410.01680.

    Example:
        One image, x = [[1, 0], [0, 2]], y = [[0, 0], [0, 0]]: token errors 1/2 and 2, L = 1.25.
    """
    prediction, target, valid_mask = as_tokens(prediction, target, valid_mask)
    check_tokens(prediction, target, valid_mask)
    kind = torch.float64 if torch.float64 in (prediction.dtype, target.dtype) else torch.float32
    difference = prediction.to(kind) - target.to(kind)
    if valid_mask is None:
        return difference.square().mean(dim=(1, 2))  # (B, N, D) -> (B,)
    # Zeroed before squaring: a NaN in a masked token would come back through the gradient of the square.
    difference = difference.masked_fill(~valid_mask[..., None], 0)
    per_token = difference.square().mean(dim=2)  # (B, N, D) -> (B, N)
    return per_token.sum(dim=1) / valid_mask.sum(dim=1).clamp(min=1)

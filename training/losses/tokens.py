"""What losses on tokens share: checks, and means over the valid ones."""

import torch
from torch import Tensor


def as_tokens(prediction: Tensor, target: Tensor, valid_mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Summaries `(B, D)` with a mask `(B,)` as one token each, `(B, 1, D)` and `(B, 1)`; tokens as they are."""
    if prediction.ndim == target.ndim == 2:
        return prediction[:, None], target[:, None], None if valid_mask is None else valid_mask[:, None]
    return prediction, target, valid_mask


def check_tokens(prediction: Tensor, target: Tensor, valid_mask: Tensor | None, *, same_width: bool = True) -> None:
    """Raise `ValueError` unless both are `(B, N, D)`, of one D if asked for, and the mask, if any, is bool `(B, N)`."""
    dims = 3 if same_width else 2
    if not prediction.ndim == target.ndim == 3 or prediction.shape[:dims] != target.shape[:dims]:
        raise ValueError(f"expected two (B, N, D) tensors, got {tuple(prediction.shape)} and {tuple(target.shape)}")
    if valid_mask is not None and (valid_mask.shape != prediction.shape[:2] or valid_mask.dtype != torch.bool):
        raise ValueError(
            f"valid_mask must be bool {tuple(prediction.shape[:2])}, got {valid_mask.dtype} {tuple(valid_mask.shape)}"
        )


def precise(prediction: Tensor, target: Tensor, valid_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Both in float32, or float64 if one is; tokens `(B, N, D)` outside the mask are 1 in each.

    They are replaced before the arithmetic: a NaN in one would come back through the gradient.
    """
    kind = torch.float64 if torch.float64 in (prediction.dtype, target.dtype) else torch.float32
    prediction, target = prediction.to(kind), target.to(kind)
    if valid_mask is None:
        return prediction, target
    outside = ~valid_mask[..., None]
    return prediction.masked_fill(outside, 1), target.masked_fill(outside, 1)


def mean_over_tokens(values: Tensor, valid_mask: Tensor | None) -> Tensor:
    """Mean of `(B, N)` over the valid tokens of each image, `(B,)`; 0 for an image without one."""
    if valid_mask is None:
        return values.mean(dim=1)
    return values.masked_fill(~valid_mask, 0).sum(dim=1) / valid_mask.sum(dim=1).clamp(min=1)


def similarities(tokens: Tensor) -> Tensor:
    """Cosines of all pairs of tokens of an image, `(B, N, D) -> (B, N, N)`, in the precision of `tokens`.

    The product leaves autocast, which would make it bfloat16: what a loss compares are differences of cosines.
    """
    with torch.autocast(tokens.device.type, enabled=False):
        directions = unit(tokens)
        return directions @ directions.transpose(1, 2)


def unit(vectors: Tensor) -> Tensor:
    """The vectors `(..., D)` at length 1, with ε = 1e-6 inside the norm so that its gradient exists at 0."""
    return vectors / (vectors.square().sum(dim=-1, keepdim=True) + 1e-12).sqrt()

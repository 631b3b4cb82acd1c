"""Cross-entropy between two distributions over prototypes: the loss of DINO and of iBOT."""

import torch
from torch import Tensor


def dino_cross_entropy(
    prediction: Tensor, target: Tensor, valid_mask: Tensor | None = None, *, temperature: float
) -> Tensor:
    """How badly the student's distribution describes the teacher's, per image or token.

    L = -Σ_k p_k log softmax(x / τ)_k

    It cannot fall below the entropy of p. A student that says nothing (x constant) scores log K.

    Args:
        prediction: x, `(B, K)`, the student's logits.
        target: p, `(B, K)`, the teacher's probabilities.
        valid_mask: bool `(B,)`; false rows count neither in the value nor in the gradient, even if they are NaN.
        temperature: τ of the student.

    Returns:
        float32 `(B,)`, computed in float32 (float64 for float64 inputs). 0 for a masked row.

    Raises:
        ValueError: shapes that do not fit.

    Source: DINO, arXiv 2104.14294, equation 2; on masked tokens iBOT, arXiv 2111.07832, equation 2.

    Example:
        x = [log 3, 0], p = [0, 1], τ = 1: softmax is [3/4, 1/4], L = log 4 = 1.3863.
    """
    if prediction.ndim != 2 or prediction.shape != target.shape:
        raise ValueError(f"expected two (B, K) tensors, got {tuple(prediction.shape)} and {tuple(target.shape)}")
    if valid_mask is not None and (valid_mask.shape != prediction.shape[:1] or valid_mask.dtype != torch.bool):
        raise ValueError(
            f"valid_mask must be bool {tuple(prediction.shape[:1])}, got {valid_mask.dtype} {tuple(valid_mask.shape)}"
        )
    kind = torch.float64 if torch.float64 in (prediction.dtype, target.dtype) else torch.float32
    x, p = prediction.to(kind), target.to(kind)
    if valid_mask is not None:
        # Replaced before the arithmetic: a NaN in a masked row would come back through the gradient.
        x, p = x.masked_fill(~valid_mask[:, None], 0), p.masked_fill(~valid_mask[:, None], 0)
    return -(p * (x / temperature).log_softmax(dim=1)).sum(dim=1)

"""Divergence between the within-image token similarities of student and teacher."""

import torch
from torch import Tensor

from training.losses.registry import DENSE_LOSSES
from training.losses.tokens import check_tokens, mean_over_tokens, precise, similarities


@DENSE_LOSSES.register("token_similarity_kl")
def token_similarity_kl(
    prediction: Tensor, target: Tensor, valid_mask: Tensor | None = None, *, temperature: float = 0.07
) -> Tensor:
    """KL divergence per image between what each token is similar to, for teacher and student.

    With S_nm = cos(·_n, ·_m) / τ for m ≠ n, p_n = softmax_m of the teacher's and q_n of the student's S:
    L = (1/|V|) Σ_{n∈V} Σ_m p_nm (log p_nm - log q_nm). Tokens are compared with each other, not by coordinates: the
    widths of x and y may differ.

    Args:
        prediction: x, `(B, N, D)`.
        target: y, `(B, N, E)`.
        valid_mask: bool `(B, N)`; false tokens neither count nor are compared with, even if they are NaN.
        temperature: τ.

    Returns:
        float32 `(B,)` (float64 for float64 inputs). 0 for an image with less than two valid tokens.

    Raises:
        ValueError: shapes that do not fit.

    Source: dense distillation of LightlyTrain v3 and, for the global token, SEED, arXiv 2101.04731.

    Example:
        Three tokens, τ = 1, y = [1, 0], [1, 0], [0, 1], x all alike: for the first two p = softmax(1, 0) =
        (0.7311, 0.2689), q = (1/2, 1/2), KL = 0.1110; for the third both are even, KL = 0; L = 0.0740.
    """
    check_tokens(prediction, target, valid_mask, same_width=False)
    x, y = precise(prediction, target, valid_mask)
    count = x.shape[1]
    compared = ~torch.eye(count, dtype=torch.bool, device=x.device).expand(len(x), -1, -1)
    if valid_mask is not None:
        compared = compared & valid_mask[:, None, :]
    alone = ~compared.any(dim=-1)  # (B, N): nothing to be compared with
    compared = compared | alone[..., None]

    def log_shares(tokens: Tensor) -> Tensor:
        scaled = similarities(tokens) / temperature  # (B, N, N)
        return scaled.masked_fill(~compared, -torch.inf).log_softmax(dim=-1).masked_fill(~compared, 0)

    teacher, student = log_shares(y), log_shares(x)
    shares = teacher.exp().masked_fill(~compared, 0)
    divergence = (shares * (teacher - student)).sum(dim=-1).masked_fill(alone, 0)  # (B, N)
    return mean_over_tokens(divergence, valid_mask)

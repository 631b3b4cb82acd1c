"""Mean squared error of the Gram matrices over the frames of a clip."""

import torch
from torch import Tensor

from training.losses.tokens import check_tokens, precise, unit


def temporal_gram(prediction: Tensor, target: Tensor, valid_mask: Tensor | None = None, *, clips: Tensor) -> Tensor:
    """How differently student and teacher see a place change from frame to frame of its clip.

    For every token position n and every two different frames s, t of a clip that share a view,
    d_n(s, t) = cos(x_n(s), x_n(t)) - cos(y_n(s), y_n(t)); the loss of frame s is the mean of d² over its partners and
    over the positions that are valid in both. What stays the same for the teacher, such as tissue at rest, is to stay
    the same for the student.

    Args:
        prediction: x, `(B, N, D)`.
        target: y, `(B, N, E)`.
        valid_mask: bool `(B, N)`; false tokens count neither in the value nor in the gradient, even if they are NaN.
        clips: int64 `(B,)`; frames of one number belong to one clip and share its crop and flip.

    Returns:
        float32 `(B,)` from 0 to 4 (float64 for float64 inputs). 0 for a frame without a partner, see `has_partner`.

    Raises:
        ValueError: shapes that do not fit.

    Source: ours; Gram anchoring of DINOv3 (arXiv 2508.10104, section 4.2) over time in place of space.

    Example:
        Two frames of one clip with one token each, x = [1, 0] and [0, 1], y = [1, 0] and [1, 0]: d = -1, L = 1 for
        both.
    """
    check_tokens(prediction, target, valid_mask, same_width=False)
    if clips.shape != prediction.shape[:1]:
        raise ValueError(f"clips must be ({len(prediction)},), got {tuple(clips.shape)}")
    x, y = (unit(tokens) for tokens in precise(prediction, target, valid_mask))
    first, second = _pairs(clips).nonzero(as_tuple=True)  # a batch holds few partners: B·(T - 1) pairs, not B²
    change = ((x[first] * x[second]).sum(dim=-1) - (y[first] * y[second]).sum(dim=-1)).square()  # (P, N)
    both = torch.ones_like(change, dtype=torch.bool) if valid_mask is None else valid_mask[first] & valid_mask[second]
    sums = change.new_zeros(len(clips)).index_add(0, first, change.masked_fill(~both, 0).sum(dim=1))
    counts = change.new_zeros(len(clips)).index_add(0, first, both.sum(dim=1).to(change.dtype))
    return sums / counts.clamp(min=1)


def has_partner(clips: Tensor, valid_mask: Tensor | None = None) -> Tensor:
    """Bool `(B,)`: the frames that `temporal_gram` compares with another one; the others do not count in its mean."""
    pairs = _pairs(clips)
    if valid_mask is not None:
        shared = valid_mask.float() @ valid_mask.float().T  # (B, B): positions valid in both
        pairs = pairs & (shared > 0)
    return pairs.any(dim=1)


def _pairs(clips: Tensor) -> Tensor:
    """Bool `(B, B)`: different frames of one clip."""
    return (clips[:, None] == clips[None, :]) & ~torch.eye(len(clips), dtype=torch.bool, device=clips.device)

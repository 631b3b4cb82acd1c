"""Mean squared error of the spatial Gram matrices."""

from torch import Tensor

from training.losses.tokens import check_tokens, precise, similarities


def gram(prediction: Tensor, target: Tensor, valid_mask: Tensor | None = None) -> Tensor:
    """How differently student and teacher find the tokens of an image alike, per image.

    L = (1/|V|²) Σ_{n,m∈V} (cos(x_n, x_m) - cos(y_n, y_m))². It keeps the patterns of a dense map without fixing its
    coordinates; the widths of x and y may differ.

    Args:
        prediction: x, `(B, N, D)`.
        target: y, `(B, N, E)`.
        valid_mask: bool `(B, N)`; false tokens count neither in the value nor in the gradient, even if they are NaN.

    Returns:
        float32 `(B,)` from 0 to 4 (float64 for float64 inputs). 0 for an image without a valid token.

    Raises:
        ValueError: shapes that do not fit.

    Source: Gram anchoring of DINOv3, arXiv 2508.10104, section 4.2.

    Example:
        Two tokens, x = [1, 0], [0, 1] and y = [1, 0], [1, 0]: the two pairs differ by 1, the two tokens with
        themselves by 0, L = 2/4 = 0.5.
    """
    check_tokens(prediction, target, valid_mask, same_width=False)
    x, y = precise(prediction, target, valid_mask)
    difference = (similarities(x) - similarities(y)).square()  # (B, N, N)
    if valid_mask is None:
        return difference.mean(dim=(1, 2))
    pairs = valid_mask[:, :, None] & valid_mask[:, None, :]
    return difference.masked_fill(~pairs, 0).sum(dim=(1, 2)) / pairs.sum(dim=(1, 2)).clamp(min=1)

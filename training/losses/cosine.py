"""One minus the cosine of tokens."""

from torch import Tensor

from training.losses.registry import DENSE_LOSSES, SUMMARY_LOSSES
from training.losses.tokens import as_tokens, check_tokens, mean_over_tokens, precise, unit


@SUMMARY_LOSSES.register("cosine")
@DENSE_LOSSES.register("cosine")
def cosine(prediction: Tensor, target: Tensor, valid_mask: Tensor | None = None) -> Tensor:
    """Cosine distance per image, averaged over the valid tokens.

    L = (1/|V|) Σ_{n∈V} (1 - ⟨x_n, y_n⟩ / (‖x_n‖ ‖y_n‖))

    Only on centred targets does it say much: where the mean of a teacher's tokens dominates them, two unrelated ones
    already have a cosine near 1.

    Args:
        prediction: x, `(B, N, D)`, or summaries `(B, D)`: one token an image; their lengths do not
            matter.
        target: y, of the shape of x, normalised.
        valid_mask: bool `(B, N)`, or `(B,)`; false tokens count neither in the value nor in the gradient, even if
            they are NaN.

    Returns:
        float32 `(B,)` from 0 to 2 (float64 for float64 inputs). 0 for an image without a valid token.

    Raises:
        ValueError: shapes that do not fit.

    Source: the summary loss of AM-RADIO, arXiv 2312.06709.

    Example:
        One image, x = [[1, 0], [0, 2]], y = [[0, 3], [0, 1]]: distances 1 and 0, L = 0.5.
    """
    prediction, target, valid_mask = as_tokens(prediction, target, valid_mask)
    check_tokens(prediction, target, valid_mask)
    x, y = precise(prediction, target, valid_mask)
    return mean_over_tokens(1 - (unit(x) * unit(y)).sum(dim=-1), valid_mask)

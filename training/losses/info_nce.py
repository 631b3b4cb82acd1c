"""InfoNCE: tells the other view of a frame from views of other frames."""

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(
    query: Tensor, key: Tensor, negatives: Tensor, allowed: Tensor | None = None, *, temperature: float
) -> Tensor:
    """Cross-entropy of finding the right key among negatives, per query.

    L_i = -log(e^(q_i·k_i/τ) / (e^(q_i·k_i/τ) + Σ_{m∈A_i} e^(q_i·n_m/τ))), all vectors at length 1.

    Whoever cannot tell them apart scores log(1 + |A_i|), the chance level.

    Args:
        query: q, `(B, D)`; any length.
        key: k, `(B, D)`: the other view of each; any length.
        negatives: n, `(M, D)`; any length.
        allowed: A, bool `(B, M)`: which negatives count for which query; `None`: all. The others count neither in the
            value nor in the gradient, but must be finite.
        temperature: τ.

    Returns:
        float32 `(B,)`, computed in float32 (float64 for float64 inputs). 0 for a query without a negative.

    Raises:
        ValueError: shapes that do not fit.

    Source: van den Oord et al., arXiv 1807.03748, equation 4, in the form of MoCo, arXiv 1911.05722, equation 1.

    Example:
        q = k = [1, 0], n = [0, 1], τ = 1: L = -log(e / (e + 1)) = 0.3133.
    """
    if query.ndim != 2 or query.shape != key.shape or negatives.ndim != 2 or negatives.shape[1] != query.shape[1]:
        raise ValueError(
            f"expected (B, D), (B, D) and (M, D), got {tuple(query.shape)}, {tuple(key.shape)} and "
            f"{tuple(negatives.shape)}"
        )
    if allowed is not None and (allowed.shape != (len(query), len(negatives)) or allowed.dtype != torch.bool):
        raise ValueError(f"allowed must be bool {(len(query), len(negatives))}, got {tuple(allowed.shape)}")
    kind = torch.float64 if torch.float64 in (query.dtype, key.dtype, negatives.dtype) else torch.float32
    q, k, n = (F.normalize(each.to(kind), dim=1) for each in (query, key, negatives))
    with torch.autocast(q.device.type, enabled=False):
        right = (q * k).sum(dim=1, keepdim=True) / temperature  # (B, 1)
        wrong = q @ n.T / temperature  # (B, M)
    if allowed is not None:
        wrong = wrong.masked_fill(~allowed, -torch.inf)
    return torch.cat([right, wrong], dim=1).logsumexp(dim=1) - right[:, 0]

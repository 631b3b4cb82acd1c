"""How the features of a frame are kept: pooled ones in float32, tokens in half precision around the frame's own mean.

Whatever is kept of a frame is a function of its features alone: neither the batch nor the process it came in matters.
"""

import numpy as np
import torch
import torch.nn.functional as F

from evaluation.backbones import Features

COARSE_GRID = 4  # cells a side that probes which look at places see: 16 tokens a frame can be stored for every frame

POOLED = ("summary", "mean_dense")  # tensors with a row for every frame
TOKENS = ("coarse", "dense")  # those with a row for some frames; each has a tensor NAME_scale beside it

Rows = dict[str, np.ndarray]  # by name of the tensor


def encode(features: Features, has_coarse: np.ndarray, has_dense: np.ndarray) -> Rows:
    """What is kept of B frames.

    Args:
        features: of the frames.
        has_coarse: bool (B,), the C frames of which coarse tokens are kept.
        has_dense: bool (B,), the M frames of which dense tokens are kept.

    Returns:
        summary float32 (B, Ds), mean_dense float32 (B, Dd), coarse float16 (C, Dd, h', w') with h' and w' up to
        `COARSE_GRID`, dense float16 (M, Dd, h, w), and coarse_scale and dense_scale float32 (C, Dd), (M, Dd).
    """
    dense = np.ascontiguousarray(features.dense, dtype=np.float32)
    count, width, h, w = dense.shape
    center = dense.reshape(count, width, h * w).mean(axis=2)  # (B, Dd)
    size = (min(h, COARSE_GRID), min(w, COARSE_GRID))
    cells = F.adaptive_avg_pool2d(torch.from_numpy(dense[has_coarse]), size).numpy()  # (C, Dd, h', w')
    coarse, coarse_scale = to_half(cells, center[has_coarse])
    tokens, dense_scale = to_half(dense[has_dense], center[has_dense])
    return {
        "summary": np.ascontiguousarray(features.summary, dtype=np.float32),
        "mean_dense": center,
        "coarse": coarse,
        "coarse_scale": coarse_scale,
        "dense": tokens,
        "dense_scale": dense_scale,
    }


def to_half(tokens: np.ndarray, center: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Round (x - c) / s to half precision, with s = max |x - c| over the cells of a frame and channel, 1 where it is 0.

    Without that, a backbone whose tokens vary little around a large mean would be judged by rounding errors. What
    `from_half` gives is off by at most 2⁻¹¹·|x - c| + 2⁻²⁵·s, beside float32's own rounding. The greatest deviation is
    no sum, so that its bits depend on no order.

    Args:
        tokens: float32 (N, Dd, h, w).
        center: c, float32 (N, Dd).

    Returns:
        (x - c) / s, float16 (N, Dd, h, w) and s, float32 (N, Dd).
    """
    deviation = tokens - center[:, :, None, None]
    reach = np.abs(deviation).max(axis=(2, 3))  # (N, Dd)
    scale = np.where(reach > 0, reach, np.float32(1))
    return (deviation / scale[:, :, None, None]).astype(np.float16), scale


def from_half(stored: np.ndarray, scale: np.ndarray, center: np.ndarray) -> np.ndarray:
    """The inverse of `to_half`, float32 (N, Dd, h, w)."""
    tokens = stored.astype(np.float32)
    tokens *= scale[:, :, None, None]
    tokens += center[:, :, None, None]
    return tokens

"""Bring a dense prediction, and the mask of a view, onto the teacher's grid."""

import torch.nn.functional as F
from torch import Tensor


def valid_tokens(valid: Tensor, grid: tuple[int, int]) -> Tensor:
    """Which tokens count: bool pixels `(B, V, V)` to bool `(B, H*W)`, row by row on `grid` (H, W).

    A token counts when at least half of the pixels of its cell do: then most of what it describes is tissue.
    """
    shares = F.adaptive_avg_pool2d(valid[:, None].float(), grid)  # (B, 1, V, V) -> (B, 1, H, W)
    return (shares >= 0.5).flatten(1)


def resample_tokens(tokens: Tensor, grid: tuple[int, int], target_grid: tuple[int, int]) -> Tensor:
    """Resample row-major tokens `(B, h*w, D)` on `grid` to `(B, H*W, D)` on `target_grid`, float32.

    Bilinear with half-pixel centres (`align_corners=False`), antialiased where it shrinks. It is the student's
    prediction that is resampled, never the target: the normaliser's statistics hold for targets as the teacher gave
    them. Equal grids return the tokens untouched.
    """
    if grid == target_grid:
        return tokens
    batch, count, width = tokens.shape
    if count != grid[0] * grid[1]:
        raise ValueError(f"{count} tokens do not fill a {grid[0]}x{grid[1]} grid")
    # (B, h*w, D) -> (B, D, h, w)
    maps = tokens.float().transpose(1, 2).reshape(batch, width, *grid)
    shrinks = target_grid[0] < grid[0] or target_grid[1] < grid[1]
    maps = F.interpolate(maps, size=target_grid, mode="bilinear", align_corners=False, antialias=shrinks)
    # (B, D, H, W) -> (B, H*W, D)
    return maps.flatten(2).transpose(1, 2)

"""Known warps of a frame: an affine map of its pixels or a change of its color, and where every place goes."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Warp:
    """Turn by `degrees` and scale by `zoom` about the center, then move; what comes from outside is black.

    Attributes:
        name: in tables.
        shift: rows and columns, in shares of the side.
        zoom: above 1 enlarges.
        degrees: clockwise.
        recolor: change of color, images (B, 3, H, W) in [0, 1] -> the same.
    """

    name: str
    shift: tuple[float, float] = (0.0, 0.0)
    zoom: float = 1.0
    degrees: float = 0.0
    recolor: Callable[[Tensor], Tensor] = field(default=lambda images: images)

    def move(self, places: np.ndarray) -> np.ndarray:
        """Where places go: float (..., 2), row and column in shares of the side from -0.5 to 0.5, the center is 0."""
        sine, cosine = math.sin(math.radians(self.degrees)), math.cos(math.radians(self.degrees))
        turned = places @ np.array([[cosine, -sine], [sine, cosine]])
        return self.zoom * turned + np.array(self.shift)

    def cells(self, size: int) -> np.ndarray:
        """Where the cells of a square grid go: float (size, size, 2), row and column in cells, centers at integers."""
        centers = (np.moveaxis(np.mgrid[:size, :size], 0, -1) + 0.5) / size - 0.5
        return (self.move(centers) + 0.5) * size - 0.5

    def apply(self, images: Tensor) -> Tensor:
        """Warped images, float (B, 3, S, S) in [0, 1] like the input; bilinear."""
        if self.shift == (0.0, 0.0) and self.zoom == 1.0 and self.degrees == 0.0:
            return self.recolor(images)
        sine, cosine = math.sin(math.radians(self.degrees)), math.cos(math.radians(self.degrees))
        # grid_sample asks where an output pixel comes from, in (x, y) from -1 to 1: the inverse map, times 2.
        down, right = 2 * self.shift[0], 2 * self.shift[1]
        inverse = torch.tensor([[cosine, sine], [-sine, cosine]]) / self.zoom
        offset = -inverse @ torch.tensor([right, down])
        theta = torch.cat([inverse, offset[:, None]], dim=1).to(images).expand(len(images), 2, 3)
        grid = F.affine_grid(theta, list(images.shape), align_corners=False)
        moved = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return self.recolor(moved)


def _dim_and_warm(images: Tensor) -> Tensor:
    """A darker, warmer light with more contrast: gains of 0.9, 0.75 and 0.65 for red, green and blue, gamma 1.2."""
    gains = torch.tensor([0.9, 0.75, 0.65], device=images.device).view(1, 3, 1, 1)
    return (images * gains) ** 1.2


# Each moves most tokens by more than the tolerance of 0.1 sides, so that a model of positions fails, except the color.
WARPS = (
    Warp("shift", shift=(0.15, -0.2)),
    Warp("scale", zoom=1.6),
    Warp("rotation", degrees=35.0),
    Warp("color", recolor=_dim_and_warm),
)

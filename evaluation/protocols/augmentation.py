"""Augmentation for training through a backbone: mild crops and light, drawn once per sample, that keep labels true."""

import re
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from evaluation.datasets.samples import Target
from training.errors import UserError

LUMA = (0.299, 0.587, 0.114)  # weights of R, G and B in brightness (ITU-R BT.601)

_SIDES = re.compile(r"(?<![a-z])(left|right|(anti|counter)?clockwise)(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class AugmentationSettings:
    """Ranges to draw from. Hue stays, because it is diagnostic."""

    crop_side: tuple[float, float] = (0.85, 1.0)  # share of the side; more would cut off tools that enter at the edge
    brightness: float = 0.2  # factor from 1 ± this; light sources vary between towers
    contrast: float = 0.2  # factor from 1 ± this, about the mean of the sample
    saturation: float = 0.1  # factor from 1 ± this; mild, because color is diagnostic
    # Probability. Off: no patient is mirrored, motions and hands have sides, and of classes such as the "G6" of JIGSAWS
    # a program cannot tell that they mean one hand.
    horizontal_flip: float = 0.0

    def __post_init__(self) -> None:
        """Refuse ranges that cannot be drawn from."""
        if not 0 < self.crop_side[0] <= self.crop_side[1] <= 1:
            raise UserError(f"augmentation.crop_side must satisfy 0 < low <= high <= 1, got {list(self.crop_side)}")
        for name in ("brightness", "contrast", "saturation", "horizontal_flip"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"augmentation.{name} must lie in [0, 1], got {getattr(self, name)}")

    def check(self, target: Target) -> None:
        """Raise `UserError` where frames are flipped though a class of the target names a side."""
        sided = [name for name in target.classes if _SIDES.search(name)]
        if self.horizontal_flip and sided:
            raise UserError(
                f"augmentation.horizontal_flip is {self.horizontal_flip}, but the class {sided[0]!r} of {target.name} "
                "has a side, which a flip makes wrong; set it to 0"
            )


def augment(frames: Tensor, owners: Tensor, settings: AugmentationSettings, generator: torch.Generator) -> Tensor:
    """A view of each sample, the same for all of its frames.

    Crops keep the aspect ratio and are enlarged to the size of the frame, bilinearly.

    Args:
        frames: float (F, 3, H, W) in [0, 1].
        owners: int64 (F,), the sample of each frame, from 0 to B - 1.
        settings: ranges.
        generator: of the CPU; the only source of randomness. The same draws are made whatever the ranges.

    Returns:
        float (F, 3, H, W) in [0, 1].
    """
    draws = torch.rand(int(owners.max()) + 1, 7, generator=generator)[owners.cpu()].to(frames)  # (F, 7)
    low, high = settings.crop_side
    side = low + (high - low) * draws[:, 0]
    across, down = ((1 - side) * (2 * draws[:, number] - 1) for number in (1, 2))  # center of the crop, in [-1, 1]
    mirrored = 1 - 2 * (draws[:, 3] < settings.horizontal_flip).to(frames)
    nothing = torch.zeros_like(side)
    rows = [torch.stack([side * mirrored, nothing, across], dim=1), torch.stack([nothing, side, down], dim=1)]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(frames.shape), align_corners=False)
    views = F.grid_sample(frames, grid, mode="bilinear", padding_mode="border", align_corners=False)

    ranges = (settings.brightness, settings.contrast, settings.saturation)
    factors = [1 + spread * (2 * draws[:, 4 + number] - 1) for number, spread in enumerate(ranges)]
    brightness, contrast, saturation = (factor.view(-1, 1, 1, 1) for factor in factors)
    luma = views.new_tensor(LUMA).view(1, 3, 1, 1)
    views = (views * brightness).clamp(0, 1)
    shares = F.one_hot(owners).to(frames)  # (F, B)
    own = (views * luma).sum(dim=1).mean(dim=(1, 2))  # mean brightness of each frame, (F,)
    mean = (shares @ ((own @ shares) / shares.sum(dim=0))).view(-1, 1, 1, 1)  # of the frames of its sample
    views = (mean + contrast * (views - mean)).clamp(0, 1)
    gray = (views * luma).sum(dim=1, keepdim=True)
    return (gray + saturation * (views - gray)).clamp(0, 1)

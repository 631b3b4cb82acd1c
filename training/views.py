"""Augmented views: one crop, flip and color change per clip, shared by the student and every teacher."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from training.errors import UserError


@dataclass(frozen=True)
class ViewConfig:
    """How a training view is drawn from a frame."""

    crop_scale: tuple[float, float] = (0.4, 1.0)  # share of the frame's area; teachers must see enough anatomy
    crop_ratio: tuple[float, float] = (0.75, 1.3333)  # width / height, the usual range of RandomResizedCrop
    horizontal_flip: float = 0.5  # probability; there is no vertical flip: gravity and port placement carry meaning
    brightness: float = 0.2  # factor drawn from 1 ± this; light sources vary between towers
    contrast: float = 0.2  # factor drawn from 1 ± this
    saturation: float = 0.1  # factor drawn from 1 ± this; mild, because color is diagnostic
    hue: float = 0.0  # shift as share of the color circle; off, because hue is diagnostic in surgery

    def __post_init__(self) -> None:
        """Refuse ranges that cannot be drawn from."""
        if not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise UserError(f"views.crop_scale must satisfy 0 < low <= high <= 1, got {list(self.crop_scale)}")
        if not 0 < self.crop_ratio[0] <= self.crop_ratio[1]:
            raise UserError(f"views.crop_ratio must satisfy 0 < low <= high, got {list(self.crop_ratio)}")
        if not 0 <= self.horizontal_flip <= 1:
            raise UserError(f"views.horizontal_flip is a probability, got {self.horizontal_flip}")
        for name, limit in (("brightness", 1.0), ("contrast", 1.0), ("saturation", 1.0), ("hue", 0.5)):
            if not 0 <= getattr(self, name) <= limit:
                raise UserError(f"views.{name} must lie in [0, {limit:g}], got {getattr(self, name)}")


@dataclass(frozen=True)
class Crops:
    """Views of every frame that a strategy wants beside the main one, such as the small crops of DINO."""

    count: int  # per frame; each with a crop, flip and color change of its own
    size: int  # pixels of the square view
    scale: tuple[float, float] | None = None  # share of the frame's area; None: that of the main view


class Box(NamedTuple):
    """Which part of its frames a view shows, in their pixels."""

    top: int
    left: int
    height: int
    width: int
    flipped: bool


class View(NamedTuple):
    """A view of a clip: images float32 `(T, 3, V, V)` in [0, 1], and which of their pixels count, bool `(T, V, V)`."""

    images: Tensor
    valid: Tensor
    box: Box


def all_valid(count: int, size: int, device: torch.device | str = "cpu") -> Tensor:
    """True for every pixel of `count` views, bool `(count, size, size)`: one byte, shown everywhere."""
    return torch.ones((), dtype=torch.bool, device=device).expand(count, size, size)


def resize_mask(mask: Tensor, size: int) -> Tensor:
    """A mask, bool `(H, W)`, on the pixels of a view, bool `(size, size)`.

    A pixel is valid when at least half of the area it shows is. Area, not nearest: nearest would lose lettering that is
    thinner than the step between the pixels it looks at, while the antialiased picture still shows it.
    """
    shares = F.interpolate(mask[None, None].float(), size=(size, size), mode="area")
    return shares[0, 0] >= 0.5


def to_tensor(frames: Sequence[np.ndarray]) -> Tensor:
    """Frames of one size, uint8 `(H, W, 3)` each, as one uint8 tensor `(T, 3, H, W)`."""
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)


def whole_view(frames: Sequence[np.ndarray], size: int) -> Tensor:
    """The whole frames without augmentation, float32 `(T, 3, size, size)` in [0, 1]: what held-out measures see."""
    resized = transforms.resize(to_tensor(frames), [size, size], InterpolationMode.BICUBIC, antialias=True)
    return resized.float() / 255


def whole_mask(mask: np.ndarray | None, size: int) -> Tensor:
    """The valid pixels of a whole view, bool `(size, size)`, for a mask bool `(H, W)`; `None` calls all valid."""
    return all_valid(1, size)[0] if mask is None else resize_mask(torch.tensor(mask), size)


def training_view(
    frames: Sequence[np.ndarray],
    size: int,
    config: ViewConfig,
    generator: torch.Generator,
    mask: np.ndarray | None = None,
) -> View:
    """One random view of a clip: every frame gets the same crop, flip and color change.

    Args:
        frames: T frames of one clip and one size, uint8 `(H, W, 3)`.
        size: side of the square view in pixels.
        config: the ranges to draw from.
        generator: the only source of randomness, so that equal generators give equal views. A mask draws nothing.
        mask: valid pixels of the frames, bool `(H, W)`; it is cropped, flipped and resized with them. `None`: all.
    """

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))

    images = to_tensor(frames)
    top, left, height, width = _crop_box(images.shape[-2], images.shape[-1], config, uniform)
    view = transforms.resized_crop(
        images, top, left, height, width, [size, size], InterpolationMode.BICUBIC, antialias=True
    )
    flipped = uniform(0, 1) < config.horizontal_flip
    if flipped:
        view = transforms.horizontal_flip(view)
    view = view.float() / 255
    # Every factor is drawn, also the unused ones, so that switching one off leaves the other draws as they were.
    brightness = uniform(1 - config.brightness, 1 + config.brightness)
    contrast = uniform(1 - config.contrast, 1 + config.contrast)
    saturation = uniform(1 - config.saturation, 1 + config.saturation)
    hue = uniform(-config.hue, config.hue)
    if config.brightness:
        view = transforms.adjust_brightness(view, brightness)
    if config.contrast:
        # The mean is taken over the clip, not per frame: the same frame content must change in the same way.
        mean = transforms.rgb_to_grayscale(view).mean()
        view = (contrast * view + (1 - contrast) * mean).clamp(0, 1)
    if config.saturation:
        view = transforms.adjust_saturation(view, saturation)
    if config.hue:
        view = transforms.adjust_hue(view, hue)
    box = Box(top, left, height, width, flipped)
    if mask is None:
        return View(view, all_valid(len(frames), size), box)
    valid = resize_mask(torch.tensor(mask[top : top + height, left : left + width]), size)
    valid = valid.flip(-1) if flipped else valid
    return View(view, valid.expand(len(frames), size, size), box)


def _crop_box(
    height: int, width: int, config: ViewConfig, uniform: Callable[[float, float], float]
) -> tuple[int, int, int, int]:
    """Top, left, height, width of a random resized crop; ten tries, then the largest legal central crop."""
    for _ in range(10):
        area = height * width * uniform(*config.crop_scale)
        ratio = math.exp(uniform(math.log(config.crop_ratio[0]), math.log(config.crop_ratio[1])))
        crop_width, crop_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = int(uniform(0, height - crop_height + 1))
            left = int(uniform(0, width - crop_width + 1))
            return top, left, crop_height, crop_width
    ratio = min(max(width / height, config.crop_ratio[0]), config.crop_ratio[1])
    crop_width, crop_height = min(width, round(height * ratio)), min(height, round(width / ratio))
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width

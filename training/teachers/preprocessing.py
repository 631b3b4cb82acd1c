"""How a teacher wants its images, read from its own processor and never assumed."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from training.errors import UserError
from training.teachers.spec import Size, TeacherSpec

# PIL's resampling numbers that a tensor can be resized with.
_INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}


@dataclass(frozen=True)
class Preprocessing:
    """`(image * scale - mean) / std` on channels in `channel_order`, for images in [0, 1]."""

    mean: tuple[float, float, float]  # per channel, in units of image * scale
    std: tuple[float, float, float]  # per channel, in units of image * scale
    scale: float  # 1.0 for a processor that divides bytes by 255, 255.0 for one that does not rescale
    channel_order: str  # "rgb" or "bgr"
    interpolation: str  # "bilinear" or "bicubic", always antialiased
    size: Size | None = None  # what the processor itself would cut an image to, if that does not depend on the image
    patch_size: int | None = None  # patch size of a processor that cuts patches itself

    def resize(self, images: Tensor, size: Size) -> Tensor:
        """Images float `(B, 3, H, W)` in [0, 1] at `size` (height, width), as this teacher's processor resizes them."""
        if tuple(images.shape[-2:]) == tuple(size):
            return images
        resized = F.interpolate(images, size=size, mode=self.interpolation, align_corners=False, antialias=True)
        return resized.clamp(0, 1)  # bicubic overshoots at edges; a byte image could not

    def normalize(self, images: Tensor) -> Tensor:
        """What the network is shown for images float `(B, 3, H, W)` in [0, 1], RGB."""
        if self.channel_order == "bgr":
            images = images.flip(1)
        # (image * scale - mean) / std as one multiplication and one addition
        std = torch.tensor(self.std, device=images.device, dtype=images.dtype).view(1, 3, 1, 1)
        mean = torch.tensor(self.mean, device=images.device, dtype=images.dtype).view(1, 3, 1, 1)
        return torch.addcmul(-mean / std, images, self.scale / std)

    def fingerprint(self) -> str:
        """SHA-256 over everything that changes what the network is shown of an image of given size."""
        facts = asdict(self)
        del facts["size"], facts["patch_size"]  # the caller decides the size; both only serve `check`
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def check(self, spec: TeacherSpec) -> None:
        """Raise `UserError` where the processor and the spec disagree about the teacher's input."""
        if self.patch_size is not None and self.patch_size != spec.patch_size:
            raise UserError(
                f"teacher {spec.name!r}: its processor cuts patches of {self.patch_size} pixels but its spec says "
                f"patch_size={spec.patch_size}; one of them belongs to another model"
            )
        # A convolutional map takes every size, so its processor's size (often no multiple of the stride) says nothing.
        if self.size is None or spec.kind == "map":
            return
        try:
            spec.check_size(self.size)
        except UserError as error:
            raise UserError(
                f"teacher {spec.name!r}: its processor prepares {self.size[0]}x{self.size[1]} images, which its spec "
                f"does not allow ({error}); one of them belongs to another model"
            ) from error


def from_processor(name: str, processor: Any, written: dict[str, Any]) -> Preprocessing:
    """Read a transformers image processor or timm's wrapped one.

    Args:
        name: the teacher, for messages.
        processor: what `AutoImageProcessor` gave.
        written: the processor's file as a dictionary. Mean and std must stand in it: a class default may be another
            model's.

    Raises:
        UserError: no mean or std, or a step that cannot be repeated on tensors.
    """
    if hasattr(processor, "data_config"):
        return _from_timm(name, processor.data_config, written.get("pretrained_cfg") or {})
    if getattr(processor, "rescale_offset", None):
        raise UserError(f"teacher {name!r}: its processor uses rescale_offset, which is not supported")
    normalizes = getattr(processor, "do_normalize", True) is not False
    if normalizes:
        mean = _channels(name, "image_mean", written.get("image_mean"))
        std = _channels(name, "image_std", written.get("image_std"))
    else:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    flips = bool(getattr(processor, "do_flip_channel_order", False))
    if flips and normalizes:
        raise UserError(f"teacher {name!r}: its processor flips channels and normalizes, in an order it does not state")
    rescales = getattr(processor, "do_rescale", True) is not False
    scale = 255.0 * float(processor.rescale_factor) if rescales else 255.0
    resample = getattr(processor, "resample", 2)
    if int(resample) not in _INTERPOLATIONS:
        raise UserError(
            f"teacher {name!r}: its processor resizes with resample={int(resample)}; tensors can be resized with "
            "2 (bilinear) or 3 (bicubic)"
        )
    return Preprocessing(
        mean=mean,
        std=std,
        scale=1.0 if abs(scale - 1) < 1e-9 else scale,
        channel_order="bgr" if flips else "rgb",
        interpolation=_INTERPOLATIONS[int(resample)],
        size=_processor_size(processor),
        patch_size=written.get("patch_size"),
    )


def _from_timm(name: str, data_config: dict[str, Any], written: dict[str, Any]) -> Preprocessing:
    """Read timm's resolved data configuration.

    `written` is `pretrained_cfg` as it stands in the file: timm fills gaps with ImageNet numbers without a word, so
    mean and std must be there.
    """
    interpolation = data_config["interpolation"]
    if interpolation not in _INTERPOLATIONS.values():
        raise UserError(f"teacher {name!r}: interpolation {interpolation!r} is not one of bilinear, bicubic")
    _, height, width = data_config["input_size"]
    return Preprocessing(
        mean=_channels(name, "pretrained_cfg.mean", written.get("mean")),
        std=_channels(name, "pretrained_cfg.std", written.get("std")),
        scale=1.0,  # timm's ToTensor divides bytes by 255
        channel_order="rgb",
        interpolation=interpolation,
        size=(height, width),
    )


def _channels(name: str, key: str, value: float | Sequence[float] | None) -> tuple[float, float, float]:
    """Three numbers, or a `UserError` that names the key."""
    if value is None:
        raise UserError(f"teacher {name!r}: its processor file states no {key}; without it features would be wrong")
    numbers = [float(value)] * 3 if isinstance(value, int | float) else [float(each) for each in value]
    if len(numbers) != 3:
        raise UserError(f"teacher {name!r}: its processor's {key} has {len(numbers)} numbers, expected 3 (RGB)")
    if key.endswith("std") and min(numbers) <= 0:
        raise UserError(f"teacher {name!r}: its processor's {key} must be positive, got {numbers}")
    return numbers[0], numbers[1], numbers[2]


def _processor_size(processor: Any) -> Size | None:
    """(height, width) a processor cuts every image to, or `None` when that depends on the image."""
    crops = getattr(processor, "do_center_crop", False)
    size = getattr(processor, "crop_size", None) if crops else getattr(processor, "size", None)
    if size is None:
        return None
    plain = dict(size)
    if plain.get("height") and plain.get("width"):
        return int(plain["height"]), int(plain["width"])
    return None

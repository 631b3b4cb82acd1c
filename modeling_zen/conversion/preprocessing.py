"""What a converted model expects of its images: taken from the processor of the source, never guessed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from transformers import AutoImageProcessor
from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from ..image_processing_zen import ZenImageProcessor

# Settings that make the same pixels in every image processor of transformers.
_COPIED = (
    "crop_size",
    "do_center_crop",
    "do_convert_rgb",
    "do_normalize",
    "do_rescale",
    "do_resize",
    "image_mean",
    "image_std",
    "resample",
    "rescale_factor",
    "size",
)
# Settings that change no pixel.
_IDLE = (
    "auto_map",
    "data_format",
    "default_to_square",
    "device",
    "disable_grouping",
    "feature_extractor_type",
    "image_processor_type",
    "input_data_format",
    "processor_class",
    "return_tensors",
)


_TIMM_CROP = 0.875  # the part of an image that timm keeps where `crop_pct` does not say (timm/data/constants.py)


@dataclass(frozen=True)
class Published:
    """The preprocessing that the authors of a family of bare weight files publish.

    Attributes:
        size: Height and width in pixels, without cropping.
        mean: Per channel, of pixels in [0, 1].
        std: The same.
        resample: Interpolation.
    """

    size: int
    mean: tuple[float, float, float] = (IMAGENET_DEFAULT_MEAN[0], IMAGENET_DEFAULT_MEAN[1], IMAGENET_DEFAULT_MEAN[2])
    std: tuple[float, float, float] = (IMAGENET_DEFAULT_STD[0], IMAGENET_DEFAULT_STD[1], IMAGENET_DEFAULT_STD[2])
    resample: Image.Resampling = Image.Resampling.BICUBIC

    def settings(self) -> dict[str, Any]:
        """As `ZenImageProcessor` takes them."""
        return {
            "size": {"height": self.size, "width": self.size},
            "image_mean": list(self.mean),
            "image_std": list(self.std),
            "resample": int(self.resample),
        }


def settings_of_folder(folder: Path, name: str) -> dict[str, Any] | None:
    """Settings of the processor in a transformers folder; `None` if there is no processor.

    Raises:
        ValueError: The processor has a setting that `ZenImageProcessor` does not have.
    """
    if not (folder / "preprocessor_config.json").is_file():
        return None
    settings = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False).to_dict()
    foreign = [key for key, value in settings.items() if value and key not in (*_COPIED, *_IDLE) and key[0] != "_"]
    if foreign:
        raise ValueError(f"the processor of {name} has {', '.join(foreign)}, which ZenImageProcessor cannot do")
    copied = {key: settings[key] for key in _COPIED if settings.get(key) is not None}
    return {**copied, "resample": int(copied["resample"])} if "resample" in copied else copied


def settings_of_timm(config: dict[str, Any], name: str) -> dict[str, Any] | None:
    """Settings from the `pretrained_cfg` of a timm folder: resize, then cut out the centre; `None` if there is none.

    "center" resizes the shorter side, "squash" each side for itself (timm/data/transforms_factory.py). Where an odd
    number of pixels is cut off, transformers cuts one more of them at the other side than timm.

    Raises:
        ValueError: The interpolation or the way of cropping is unknown, or the size is not there.
    """
    published = config.get("pretrained_cfg")
    if not published:
        return None
    interpolation, mode = published.get("interpolation", "bicubic"), published.get("crop_mode", "center")
    if interpolation not in ("bilinear", "bicubic") or mode not in ("center", "squash"):
        raise ValueError(f"{name} is preprocessed by {interpolation} and crop_mode {mode}, which is not known here")
    if len(published.get("input_size", ())) != 3:
        raise ValueError(f"pretrained_cfg of {name} has no input_size of channels, height and width")
    height, width = published["input_size"][-2:]
    part = published.get("crop_pct") or _TIMM_CROP
    settings: dict[str, Any] = {
        "size": {"height": int(height / part), "width": int(width / part)},
        "resample": int(Image.Resampling[interpolation.upper()]),
        "do_center_crop": True,
        "crop_size": {"height": height, "width": width},
    }
    settings |= {f"image_{key}": list(published[key]) for key in ("mean", "std") if key in published}
    if mode == "center":
        if height != width:
            raise ValueError(f"{name} cuts {height} x {width} pixels out of the centre; only squares are known here")
        settings["size"] = {"shortest_edge": int(height / part)}
    return settings


def make_processor(
    settings: dict[str, Any] | None, mean: Sequence[float] | None, std: Sequence[float] | None, name: str
) -> ZenImageProcessor:
    """The processor for converted weights.

    Args:
        settings: From the source, or `None` if it does not say.
        mean: What the caller says, which wins.
        std: The same.
        name: Of the source, for messages.

    Raises:
        ValueError: Neither source nor caller says how images are normalised, or not with three numbers each.
    """
    settings = dict(settings or {})
    for key, given in (("image_mean", mean), ("image_std", std)):
        if given is not None:
            settings[key] = list(given)
        numbers = settings.get(key)
        if numbers is None:
            raise ValueError(
                f"{name} does not say how its images were normalised, and other numbers than those of its training "
                f"make its features wrong without a sign: give image_mean and image_std"
            )
        if len(numbers) != 3:
            raise ValueError(f"{key} of {name} must be three numbers, one per channel, not {list(numbers)}")
    return ZenImageProcessor(**settings)

"""`ZenImageProcessor`: from images of any size to the normalised `pixel_values` a ZEN encoder reads."""

import difflib
from collections.abc import Iterable
from typing import Any

import torch
from transformers.feature_extraction_utils import BatchFeature
from transformers.image_processing_backends import TorchvisionBackend
from transformers.image_utils import PILImageResampling
from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

# Keys that transformers writes into the files of processors beside the settings.
_KEYS_OF_TRANSFORMERS = frozenset(
    {"auto_map", "feature_extractor_type", "image_processor_type", "processor_class", "video_processor_type"}
)


def refuse_unknown_settings(processor: str, settings: Iterable[str], given: Iterable[str]) -> None:
    """Raise `ValueError`, with the closest name, if one of `given` is no setting and none of transformers' own."""
    known = list(settings)
    for name in given:
        if name in known or name in _KEYS_OF_TRANSFORMERS or name.startswith("_"):
            continue
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(known)}"
        raise ValueError(f"{processor} has no setting {name!r}; {hint}")


class ZenImageProcessor(TorchvisionBackend):
    """Turns PIL images, arrays or tensors into `pixel_values` of shape (batch, 3, height, width), float32.

    One order, for training and use alike: to RGB, resize, then scale to [0, 1] and normalise in one step. An image of
    8-bit integers is resized as integers: that is several times faster than in floating point, rounds by at most half
    a grey level, and clips what bicubic interpolation overshoots, so that nothing leaves the range of real pixels.

    Defaults: 224 x 224 pixels, whatever the aspect ratio (the positions of the encoder are relative to the image's
    sides, and cutting off the left and right of a surgical frame loses instruments); bicubic with antialiasing;
    mean and standard deviation of ImageNet. Every setting of a transformers image processor can be given to the
    constructor or to one call. Whether the size is a multiple of the patch is checked by the model, which knows it.

    Raises:
        ValueError: An unknown setting; or floating-point images that are not in 0 to 255 though `do_rescale` is on
            (scaling them by 1/255 once more would turn them black).
    """

    resample = PILImageResampling.BICUBIC
    image_mean = IMAGENET_DEFAULT_MEAN
    image_std = IMAGENET_DEFAULT_STD
    size = {"height": 224, "width": 224}  # noqa: RUF012 - transformers reads and copies class attributes
    do_convert_rgb = True
    do_resize = True
    do_rescale = True
    do_normalize = True

    def __init__(self, **kwargs: Any) -> None:
        refuse_unknown_settings(type(self).__name__, list(self.valid_kwargs.__annotations__), kwargs)
        super().__init__(**kwargs)

    # The base class hands over every setting by name; only one of them is read here.
    def _preprocess(  # type: ignore[override]
        self, images: list[torch.Tensor], *, do_rescale: bool, **kwargs: Any
    ) -> BatchFeature:
        if do_rescale:
            for index, image in enumerate(images):
                if not image.is_floating_point():
                    continue
                low, high = image.aminmax()
                if low < 0 or 0 < high <= 1:
                    raise ValueError(
                        f"image {index} holds floating-point values from {low:.3g} to {high:.3g} instead of 0 to 255; "
                        "give 8-bit images, or pass do_rescale=False if they are scaled to [0, 1] already"
                    )
        return super()._preprocess(images, do_rescale=do_rescale, **kwargs)


__all__ = ["ZenImageProcessor"]

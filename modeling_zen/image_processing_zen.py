"""`ZenImageProcessor`: from images of any size to the normalised `pixel_values` a ZEN encoder reads."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.nn import functional as F
from transformers.feature_extraction_utils import BatchFeature
from transformers.image_processing_backends import TorchvisionBackend
from transformers.image_processing_outputs import SemanticSegmentationPostProcessorOutput
from transformers.image_utils import PILImageResampling
from transformers.processing_utils import ImagesKwargs
from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from .field_of_view_zen import Box, field_of_view_box, paste_field_of_view

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


def check_pixels(name: str, pixels: torch.Tensor, do_rescale: bool | None) -> None:
    """Raise `ValueError` for pixel values that preprocessing would turn into nonsense.

    Args:
        name: What the pixels are called in the message.
        pixels: Any shape. Integers must lie in 0 to 255; floats too if they are to be rescaled by 1/255, and not all in
            0 to 1 (rescaled once more they would turn black).
        do_rescale: Whether they will be rescaled.
    """
    if pixels.dtype == torch.uint8:
        return
    is_float = pixels.is_floating_point()
    low, high = (value.item() for value in (pixels if is_float else pixels.long()).aminmax())
    if low != low or high != high or high == float("inf") or low == -float("inf"):
        raise ValueError(f"{name} holds NaN or infinite pixels")
    if not is_float:
        if low < 0 or high > 255:
            raise ValueError(f"{name} holds integers from {low} to {high} instead of 0 to 255; give 8-bit images")
    elif do_rescale and (low < 0 or 0 < high <= 1):
        raise ValueError(
            f"{name} holds floating-point values from {low:.3g} to {high:.3g} instead of 0 to 255; "
            "give 8-bit images, or pass do_rescale=False if they are scaled to [0, 1] already"
        )


def gray_levels(name: str, pixels: torch.Tensor, do_rescale: bool | None) -> torch.Tensor:
    """Pixels (n, channels, height, width) as `field_of_view_box` wants them: uint8 (n, 3, height, width)."""
    if pixels.is_floating_point() and not do_rescale:
        if not 0 <= pixels.min() <= pixels.max() <= 1:
            raise ValueError(f"{name} is not in [0, 1], so its field of view cannot be found; crop before normalising")
        pixels = pixels * 255
    return pixels.round().clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1)


class ZenImageProcessorKwargs(ImagesKwargs, total=False):
    """Settings of `ZenImageProcessor` beside those of every image processor."""

    do_crop_field_of_view: bool | None
    return_field_of_view: bool | None


class ZenImageProcessor(TorchvisionBackend):
    """Turns PIL images, arrays or tensors into `pixel_values` of shape (batch, 3, height, width), float32.

    One order, for training and use alike: to RGB, crop to the field of view (if asked for), resize, then scale to
    [0, 1] and normalise in one step. An image of 8-bit integers is resized as integers: that is several times faster
    than in floating point, rounds by at most half a grey level, and clips what bicubic interpolation overshoots, so
    that nothing leaves the range of real pixels. Pretraining resizes its views by the same function on the same
    integers, changes their colours in [0, 1] and normalises last.

    Defaults: 224 x 224 pixels, whatever the aspect ratio (the positions of the encoder are relative to the image's
    sides, and cutting off the left and right of a surgical frame loses instruments); bicubic with antialiasing;
    mean and standard deviation of ImageNet. Every setting of a transformers image processor can be given to the
    constructor or to one call. Whether the size is a multiple of the patch is checked by the model, which knows it.

    Two settings more: `do_crop_field_of_view` cuts the dark border around an endoscope's picture off each image, by
    itself (off by default; for frames of one video, use `ZenVideoProcessor`, which cuts them alike).
    `return_field_of_view` adds `field_of_view`, int64 (batch, 4): left, top, right, bottom in pixels of each source
    image. Pop it before the rest goes to a model; the `post_process_*` methods take it to lay maps back.

    Raises:
        ValueError: An unknown setting; no images; an image without pixels or with neither 1, 3 nor 4 channels; NaN;
            integers that are not in 0 to 255, or floating-point values that are not though `do_rescale` is on (scaling
            them by 1/255 once more would turn them black).
    """

    valid_kwargs = ZenImageProcessorKwargs
    resample = PILImageResampling.BICUBIC
    image_mean = IMAGENET_DEFAULT_MEAN
    image_std = IMAGENET_DEFAULT_STD
    size = {"height": 224, "width": 224}  # noqa: RUF012 - transformers reads and copies class attributes
    do_convert_rgb = True
    do_resize = True
    do_rescale = True
    do_normalize = True
    do_crop_field_of_view = False
    return_field_of_view = False

    def __init__(self, **kwargs: Any) -> None:
        refuse_unknown_settings(type(self).__name__, list(self.valid_kwargs.__annotations__), kwargs)
        super().__init__(**kwargs)

    def _prepare_images_structure(self, images: Any, expected_ndims: int = 3) -> Any:
        if isinstance(images, (list, tuple)) and not len(images):
            raise ValueError("there are no images: the list is empty")
        flat: Any = super()._prepare_images_structure(images, expected_ndims=expected_ndims)
        if not len(flat):
            raise ValueError("there are no images: the batch is empty")
        return flat

    def process_image(self, image: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """One image, of any kind, to a tensor (channels, height, width); see the base class."""
        is_array = hasattr(image, "shape")  # not one of PIL
        shape = tuple(image.shape if is_array else image.size)
        if 0 in shape:
            raise ValueError(f"an image of shape {shape} has no pixels")
        is_open = is_array and kwargs.get("input_data_format") is None
        if is_open and len(shape) == 3 and not {shape[0], shape[2]} & {1, 3, 4}:
            raise ValueError(f"an image of shape {shape} is not RGB: its first or last side must be 3 (or 1, or 4)")
        return super().process_image(image, *args, **kwargs)

    # The base class hands over every setting by name; only some of them are read here.
    def _preprocess(  # type: ignore[override]
        self,
        images: list[torch.Tensor],
        *,
        do_rescale: bool,
        do_crop_field_of_view: bool | None,
        return_field_of_view: bool | None,
        return_tensors: Any = None,
        **kwargs: Any,
    ) -> BatchFeature:
        for index, image in enumerate(images):
            check_pixels(f"image {index}", image, do_rescale)
        boxes: list[Box] = [(0, 0, image.shape[-1], image.shape[-2]) for image in images]
        if do_crop_field_of_view:
            boxes = [
                field_of_view_box(gray_levels(f"image {index}", image[None], do_rescale))
                for index, image in enumerate(images)
            ]
            images = [
                image[:, top:bottom, left:right].contiguous()
                for image, (left, top, right, bottom) in zip(images, boxes, strict=True)
            ]
        features = super()._preprocess(images, do_rescale=do_rescale, return_tensors=return_tensors, **kwargs)
        return with_boxes(features, boxes, return_tensors) if return_field_of_view else features

    def post_process_semantic_segmentation(
        self,
        outputs: Any,
        target_sizes: torch.Tensor | Sequence[tuple[int, int]] | None = None,
        return_segmentation_scores: bool = False,
        field_of_view: torch.Tensor | Sequence[Box] | None = None,
    ) -> list[torch.Tensor] | list[SemanticSegmentationPostProcessorOutput]:
        """Logits to maps of class ids, as transformers' pipelines call it.

        Args:
            outputs: With `logits`, float (batch, classes, h, w).
            target_sizes: (height, width) of each source image: logits are resized to it bilinearly before the choice
                of the class. `None`: not resized.
            return_segmentation_scores: Whether the (resized) logits are wanted too.
            field_of_view: The boxes of the call that made the pixels, where it cropped; class 0 outside of them.

        Returns:
            One int64 (height, width) per image; with `return_segmentation_scores`, one object with `segmentation` and
            `segmentation_scores` (classes, height, width) per image.

        Raises:
            ValueError: Not one size or box for each map; or the processor crops and no boxes are given.
        """
        maps = self._whole_maps(outputs.logits, target_sizes, field_of_view)
        if not return_segmentation_scores:
            return [scores.argmax(0) for scores in maps]
        pairs = [{"segmentation": scores.argmax(0), "segmentation_scores": scores} for scores in maps]
        return [SemanticSegmentationPostProcessorOutput(data=pair) for pair in pairs]

    def post_process_depth_estimation(
        self,
        outputs: Any,
        target_sizes: torch.Tensor | Sequence[tuple[int, int]] | None = None,
        field_of_view: torch.Tensor | Sequence[Box] | None = None,
    ) -> list[dict[str, torch.Tensor]]:
        """Predicted depths to maps of the source images' sizes, as transformers' pipelines call it.

        Bilinear: bicubic interpolation would overshoot at the edges of instruments, even below zero.

        Args:
            outputs: With `predicted_depth`, float (batch, h, w).
            target_sizes: (height, width) of each source image; `None`: not resized.
            field_of_view: The boxes of the call that made the pixels, where it cropped; 0 outside of them.

        Returns:
            One `{"predicted_depth": float (height, width)}` per image, in the unit of the prediction.

        Raises:
            ValueError: Not one size or box for each map; or the processor crops and no boxes are given.
        """
        maps = self._whole_maps(outputs.predicted_depth[:, None], target_sizes, field_of_view)
        return [{"predicted_depth": depth[0]} for depth in maps]

    def _whole_maps(self, maps: torch.Tensor, target_sizes: Any, field_of_view: Any) -> list[torch.Tensor]:
        """Maps (batch, channels, h, w), each resized to its place in its source image, 0 around that."""
        if target_sizes is None:
            return list(maps)
        if len(target_sizes) != len(maps):
            raise ValueError(f"there are {len(target_sizes)} target sizes for {len(maps)} maps; give one for each")
        if field_of_view is None and self.do_crop_field_of_view:
            raise ValueError(
                "this processor crops to the field of view, so maps can only be laid back with the boxes: call it with "
                "return_field_of_view=True and pass field_of_view, or switch do_crop_field_of_view off"
            )
        boxes = [(0, 0, width, height) for height, width in target_sizes] if field_of_view is None else field_of_view
        if len(boxes) != len(maps):
            raise ValueError(f"there are {len(boxes)} boxes in field_of_view for {len(maps)} maps; give one for each")
        whole = []
        for each, box, (height, width) in zip(maps, boxes, target_sizes, strict=True):
            left, top, right, bottom = (int(side) for side in box)
            size = (bottom - top, right - left)
            resized = F.interpolate(each[None], size, mode="bilinear", align_corners=False)[0]
            whole.append(paste_field_of_view(resized, (left, top, right, bottom), int(height), int(width)))
        return whole


def with_boxes(features: BatchFeature, boxes: list[Box], return_tensors: Any) -> BatchFeature:
    """The features and `field_of_view`, (batch, 4)."""
    return BatchFeature({**features, "field_of_view": torch.tensor(boxes)}, tensor_type=return_tensors)


__all__ = ["ZenImageProcessor"]

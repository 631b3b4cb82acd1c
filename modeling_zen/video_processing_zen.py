"""`ZenVideoProcessor`: from videos to normalised `pixel_values_videos`, each frame as `ZenImageProcessor` gives it."""

import os
from collections.abc import Callable
from typing import Any

import torch
from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import VideosKwargs
from transformers.video_processing_utils import BaseVideoProcessor
from transformers.video_utils import VideoMetadata, make_batched_videos

from .field_of_view_zen import Box, field_of_view_box, spread
from .image_processing_zen import ZenImageProcessor, check_pixels, gray_levels, refuse_unknown_settings, with_boxes
from .video_decoding_zen import open_video, sample_indices

_SAMPLING = ("fps", "num_frames", "stride")


class ZenVideoProcessorKwargs(VideosKwargs, total=False):
    """Settings of `ZenVideoProcessor` beside those of every video processor."""

    stride: int | None
    do_crop_field_of_view: bool | None
    return_field_of_view: bool | None


class ZenVideoProcessor(BaseVideoProcessor):
    """Turns videos into `pixel_values_videos` of shape (batch, frames, 3, height, width), float32.

    A video is an array or tensor of 8-bit frames (frames, height, width, 3) or (frames, 3, height, width), a list of
    images, or the path or URL of a file. Every frame goes the way of `ZenImageProcessor`, in the same order with the
    same defaults, so that a frame gives the same numbers alone and in its video.

    All frames are taken unless one of `fps` (frames per second), `num_frames` (spread evenly over the video) or
    `stride` (every stride-th) says which, here or in the call; the call's word counts instead of the constructor's.
    `do_sample_frames=False` takes all of them nevertheless. An array needs `video_metadata` with its rate to be
    sampled by `fps`. With `return_metadata=True` the result carries `video_metadata` with the numbers of the frames.
    Files are decoded by the first of decord, PyAV and torchcodec that is installed and can read them.

    `do_crop_field_of_view` cuts the dark border around an endoscope's picture off: one box for all frames of a video,
    found from up to 24 of those taken, so that the picture does not jitter. `return_field_of_view` adds
    `field_of_view`, int64 (batch, 4): left, top, right, bottom in pixels of the source.

    Raises:
        ValueError: An unknown setting; more than one of `fps`, `num_frames` and `stride`, or one that asks for more
            than there is; a file that is damaged or no video; no videos; a video without frames or pixels, or not RGB;
            NaN, or floating-point values that are not in 0 to 255 though `do_rescale` is on.
        FileNotFoundError: A path that is no file.
        ImportError: No decoder is installed.
    """

    valid_kwargs = ZenVideoProcessorKwargs  # type: ignore[assignment]  # as BaseVideoProcessor itself has it
    resample = ZenImageProcessor.resample
    image_mean = ZenImageProcessor.image_mean
    image_std = ZenImageProcessor.image_std
    size = ZenImageProcessor.size
    do_convert_rgb = ZenImageProcessor.do_convert_rgb
    do_resize = ZenImageProcessor.do_resize
    do_rescale = ZenImageProcessor.do_rescale
    do_normalize = ZenImageProcessor.do_normalize
    do_crop_field_of_view = ZenImageProcessor.do_crop_field_of_view
    return_field_of_view = ZenImageProcessor.return_field_of_view
    stride: int | None = None
    do_sample_frames = None  # when one of fps, num_frames and stride is given

    def __init__(self, **kwargs: Any) -> None:
        refuse_unknown_settings(type(self).__name__, list(self.valid_kwargs.__annotations__), kwargs)
        _refuse_two({name: kwargs.get(name) for name in _SAMPLING})
        super().__init__(**kwargs)

    def preprocess(self, videos: Any, **kwargs: Any) -> BatchFeature:
        """See the class; takes its settings for this call."""
        asked = {name: kwargs.get(name) for name in _SAMPLING}
        _refuse_two(asked)
        if any(value is not None for value in asked.values()):
            kwargs.update(asked)  # None for the others, instead of what the constructor was given
        else:
            asked = {name: getattr(self, name) for name in _SAMPLING}
        if kwargs.get("do_sample_frames", self.do_sample_frames) is None:
            kwargs["do_sample_frames"] = any(value is not None for value in asked.values())
        return super().preprocess(videos, **kwargs)

    def sample_frames(  # type: ignore[override]
        self,
        metadata: VideoMetadata,
        num_frames: int | None = None,
        fps: float | None = None,
        stride: int | None = None,
        **_: Any,
    ) -> list[int]:
        """Numbers of the frames to take; see `sample_indices`."""
        times = getattr(metadata, "frame_times", None)  # of a file; frames in memory are evenly spaced
        return sample_indices(
            metadata.total_num_frames, metadata.fps, fps=fps, num_frames=num_frames, stride=stride, timestamps=times
        )

    def fetch_videos(self, video_url_or_urls: Any, sample_indices_fn: Callable | None = None) -> Any:
        """Decode files; the base class would only try torchcodec.

        Args:
            video_url_or_urls: A path or URL, or a list of them.
            sample_indices_fn: Called with `metadata`, answers with the numbers of the frames to read; `None` reads all.

        Returns:
            Frames, uint8 (frames, height, width, 3), and their `VideoMetadata`; of a list, a list of each.
        """
        if isinstance(video_url_or_urls, list):
            pairs = [self.fetch_videos(each, sample_indices_fn=sample_indices_fn) for each in video_url_or_urls]
            return [frames for frames, _ in pairs], [metadata for _, metadata in pairs]
        with open_video(video_url_or_urls, is_sparse=sample_indices_fn is not None) as video:
            if video.num_frames is None:
                raise ValueError(f"video {video.source!r} is a live source, which cannot be read whole")
            metadata = VideoMetadata(
                total_num_frames=video.num_frames,
                fps=video.fps,
                width=video.width,
                height=video.height,
                duration=video.duration,
                video_backend=video.backend,
            )
            metadata.frame_times = video.timestamps()  # type: ignore[attr-defined]
            try:
                indices = range(video.num_frames) if sample_indices_fn is None else sample_indices_fn(metadata=metadata)
            except ValueError as error:
                raise ValueError(f"video {video.source!r}: {error}") from error
            metadata.frames_indices = list(indices)
            return video.read(metadata.frames_indices), metadata

    def _decode_and_sample_videos(self, videos: Any, *args: Any, **kwargs: Any) -> Any:
        videos = _paths_to_text(videos)
        is_batch = isinstance(videos, (list, tuple)) or getattr(videos, "ndim", 0) == 5
        if is_batch and not len(videos):
            raise ValueError("there are no videos: the list is empty")
        for index, video in enumerate(videos if is_batch else [videos]):
            if not isinstance(video, str) and hasattr(video, "__len__") and not len(video):
                raise ValueError(f"video {index} has no frames")
        batch = make_batched_videos(videos)  # arrays of 4 dimensions, files, or lists of image files
        for index, video in enumerate(batch):
            _check_shape(index, tuple(getattr(video, "shape", ())), channels={1, 3, 4})
        if not any(isinstance(video, list) for video in batch):
            videos = batch
        return super()._decode_and_sample_videos(videos, *args, **kwargs)

    def _prepare_input_videos(self, videos: Any, *args: Any, **kwargs: Any) -> list[torch.Tensor]:
        if kwargs.get("input_data_format") is None:
            for index, video in enumerate(videos):
                _check_shape(index, tuple(video.shape), channels={1, 3})
        # One by one: the base class would take the layout of the first video for all of them.
        return [super(ZenVideoProcessor, self)._prepare_input_videos([each], *args, **kwargs)[0] for each in videos]

    # The base class hands over every setting by name; only some of them are read here.
    def _preprocess(  # type: ignore[override]
        self,
        videos: list[torch.Tensor],
        *,
        do_rescale: bool,
        do_crop_field_of_view: bool | None,
        return_field_of_view: bool | None,
        return_tensors: Any = None,
        **kwargs: Any,
    ) -> BatchFeature:
        for index, video in enumerate(videos):
            check_pixels(f"video {index}", video, do_rescale)
        boxes: list[Box] = [(0, 0, video.shape[-1], video.shape[-2]) for video in videos]
        if do_crop_field_of_view:
            boxes = [
                field_of_view_box(gray_levels(f"video {index}", video[spread(len(video))], do_rescale))
                for index, video in enumerate(videos)
            ]
            videos = [
                video[..., top:bottom, left:right].contiguous()
                for video, (left, top, right, bottom) in zip(videos, boxes, strict=True)
            ]
        features = super()._preprocess(videos, do_rescale=do_rescale, return_tensors=return_tensors, **kwargs)
        return with_boxes(features, boxes, return_tensors) if return_field_of_view else features


def _refuse_two(asked: dict[str, Any]) -> None:
    given = [name for name, value in asked.items() if value is not None]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} are mutually exclusive; give one of fps, num_frames and stride")


def _check_shape(index: int, shape: tuple[int, ...], channels: set[int]) -> None:
    """Raise `ValueError` unless this is the shape of a video; () is a file."""
    if 0 in shape[:1]:
        raise ValueError(f"video {index} has no frames")
    if 0 in shape:
        raise ValueError(f"video {index} of shape {shape} has no pixels")
    if len(shape) == 4 and not {shape[1], shape[3]} & channels:
        raise ValueError(f"video {index} of shape {shape} is not RGB: its second or last side must be 3 (or 1)")


def _paths_to_text(videos: Any) -> Any:
    """Paths as text, which is all that transformers takes for a file; everything else as it is."""
    if isinstance(videos, os.PathLike):
        return os.fspath(videos)
    if isinstance(videos, (list, tuple)) and any(isinstance(each, os.PathLike) for each in videos):
        return [_paths_to_text(each) for each in videos]
    return videos


__all__ = ["ZenVideoProcessor"]

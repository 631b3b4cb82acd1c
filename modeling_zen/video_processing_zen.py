"""`ZenVideoProcessor`: from videos to normalised `pixel_values_videos`, each frame as `ZenImageProcessor` gives it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers.utils.import_utils import is_av_available, is_decord_available, is_torchcodec_available
from transformers.video_processing_utils import BaseVideoProcessor
from transformers.video_utils import load_video

from .image_processing_zen import ZenImageProcessor, refuse_unknown_settings


class ZenVideoProcessor(BaseVideoProcessor):
    """Turns videos into `pixel_values_videos` of shape (batch, frames, 3, height, width), float32.

    A video is an array or tensor of 8-bit frames (frames, height, width, 3) or (frames, 3, height, width), a list of
    images, or the path or URL of a file. Every frame goes the way of `ZenImageProcessor`, in the same order with the
    same defaults, so that a frame gives the same numbers alone and in its video.

    Of a file, all frames are read unless `do_sample_frames=True` and either `fps` (frames per second) or `num_frames`
    (spread evenly over the file) says which; with `return_metadata=True` the result carries `video_metadata` with the
    numbers of the frames read. Files are decoded by decord, by PyAV where decord is missing, by torchcodec where both
    are.

    Raises:
        ValueError: An unknown setting, both `fps` and `num_frames`, or a file that is damaged or no video.
        FileNotFoundError: A path that is no file.
        ImportError: No decoder is installed.
    """

    resample = ZenImageProcessor.resample
    image_mean = ZenImageProcessor.image_mean
    image_std = ZenImageProcessor.image_std
    size = ZenImageProcessor.size
    do_convert_rgb = ZenImageProcessor.do_convert_rgb
    do_resize = ZenImageProcessor.do_resize
    do_rescale = ZenImageProcessor.do_rescale
    do_normalize = ZenImageProcessor.do_normalize
    do_sample_frames = False

    def __init__(self, **kwargs: Any) -> None:
        refuse_unknown_settings(type(self).__name__, list(self.valid_kwargs.__annotations__), kwargs)
        super().__init__(**kwargs)

    def fetch_videos(self, video_url_or_urls: Any, sample_indices_fn: Callable | None = None) -> Any:
        """Decode files; the base class would only try torchcodec.

        Args:
            video_url_or_urls: A path or URL, or a list of them.
            sample_indices_fn: Called with `metadata`, answers with the numbers of the frames to read; `None` reads all.

        Returns:
            Frames, uint8 (frames, height, width, 3), and their `VideoMetadata`; of a list, a tuple of each.
        """
        if isinstance(video_url_or_urls, list):
            pairs = [self.fetch_videos(each, sample_indices_fn=sample_indices_fn) for each in video_url_or_urls]
            return [frames for frames, _ in pairs], [metadata for _, metadata in pairs]
        source: Any = str(video_url_or_urls)
        if "://" not in source and not Path(source).is_file():
            raise FileNotFoundError(f"video {source!r} does not exist")
        decoder = _decoder()
        try:
            return load_video(source, backend=decoder, sample_indices_fn=sample_indices_fn)
        except Exception as error:  # every decoder raises kinds of its own
            reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            raise ValueError(f"video {source!r} cannot be read by {decoder}: {reason[0]}") from error


def _decoder() -> str:
    available = {"decord": is_decord_available, "pyav": is_av_available, "torchcodec": is_torchcodec_available}
    for name, is_available in available.items():
        if is_available():
            return name
    raise ImportError("no video decoder is installed: pip install decord (or av, or torchcodec)")


__all__ = ["ZenVideoProcessor"]

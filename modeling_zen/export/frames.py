"""Real frames for calibration and parity: from folders, images, videos or arrays to `pixel_values`."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, UnidentifiedImageError

from modeling_zen.image_processing_zen import ZenImageProcessor
from modeling_zen.video_decoding_zen import open_video
from modeling_zen.video_sampling_zen import sample_indices

IMAGES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm")
DEFAULT_FRAMES = 300  # what NNCF takes by default; more changed nothing in its authors' experiments

Source = str | os.PathLike[str] | Sequence[Any]


def load_frames(
    source: Source,
    processor: ZenImageProcessor,
    *,
    limit: int = DEFAULT_FRAMES,
    labeled: bool = False,
) -> tuple[torch.Tensor, list[str] | None]:
    """Frames as a model reads them, spread evenly over what there is.

    Args:
        source: A folder (with all below it: give one without masks), an image, a video, a list of such paths, or a
            list of images (PIL, or uint8 arrays (height, width, 3)).
        processor: Resizes and normalises the frames.
        limit: At most so many frames are taken. Every video gives equally many, images at most half beside videos.
        labeled: Also return, per frame, the name of the folder right below `source` that it lies in: its class.

    Returns:
        (frames, 3, height, width) at the size of `processor`, float32, normalised; and the labels or `None`.

    Raises:
        FileNotFoundError: A path that does not exist.
        ValueError: No image or video there, one that cannot be read, or `labeled` without folders of classes.
    """
    if limit < 1:
        raise ValueError(f"limit must be at least 1 frame, not {limit}")
    rows, labels = [], []
    for image, path in _images(source, limit):
        rows.append(processor(image, return_tensors="pt")["pixel_values"])
        if labeled:
            labels.append(_class_of(path, source))
    return torch.cat(rows), labels if labeled else None


def _images(source: Source, limit: int) -> Iterator[tuple[Any, Path | None]]:
    """Images, one at a time in memory, and where each comes from."""
    if isinstance(source, str | os.PathLike):
        yield from _from_files(_files(Path(source)), limit)
    elif len(source) and all(isinstance(item, str | os.PathLike) for item in source):
        yield from _from_files([file for item in source for file in _files(Path(item))], limit)
    elif len(source):
        for index in _spread(len(source), limit):
            yield source[index], None
    else:
        raise ValueError("the list of frames is empty; give images, videos or a folder of them")


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give a folder, an image or a video")
    candidates = sorted(path.rglob("*")) if path.is_dir() else [path]
    files = [file for file in candidates if file.suffix.lower() in IMAGES + VIDEOS and file.is_file()]
    if not files:
        raise ValueError(f"{path} holds no image ({', '.join(IMAGES)}) and no video ({', '.join(VIDEOS)})")
    return files


def _from_files(files: list[Path], limit: int) -> Iterator[tuple[Any, Path]]:
    videos = [file for file in files if file.suffix.lower() in VIDEOS]
    images = [file for file in files if file.suffix.lower() in IMAGES]
    images = [images[index] for index in _spread(len(images), limit // 2 if videos else limit)]
    videos = [videos[index] for index in _spread(len(videos), limit - len(images))]
    for path in images:
        try:
            with Image.open(path) as image:
                yield image.convert("RGB"), path
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise ValueError(f"image {path} cannot be read: {error}") from error
    for path in videos:
        with open_video(path) as video:
            count = video.num_frames
            assert count is not None  # files are not live
            share = max((limit - len(images)) // len(videos), 1)
            for chunk in video.frames(sample_indices(count, video.fps, num_frames=min(share, count))):
                for pixels in chunk.pixels:
                    yield pixels.permute(2, 0, 1), path  # (height, width, 3) -> (3, height, width)


def _spread(count: int, limit: int) -> list[int]:
    """At most `limit` of the numbers below `count`, evenly spaced."""
    taken = min(count, limit)
    return [index * count // taken for index in range(taken)]


def _class_of(path: Path | None, source: Source) -> str:
    if path is None or not isinstance(source, str | os.PathLike) or not Path(source).is_dir():
        raise ValueError("labels are the names of folders: give one folder that holds a folder of images per class")
    below = path.relative_to(Path(source)).parts
    if len(below) < 2:
        raise ValueError(f"{path} lies in no folder of a class; put it into {Path(source) / 'CLASS' / path.name}")
    return below[0]

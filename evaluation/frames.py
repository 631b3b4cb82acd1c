"""Frames for the benchmark: the whole frame, resized to one square size, the same pixels for every backbone."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from evaluation.datasets import FrameReference
from training.corpus import Clip, Corpus
from training.corpus.decoder_process import DecoderProcess, DecodingSettings, Lost
from training.corpus.decoding import DecodeError
from training.errors import UserError

RESAMPLING = "whole frame to a square by PIL bicubic with antialiasing, aspect ratio not kept, no crop"


@dataclass(frozen=True)
class CorpusFrame:
    """One frame of a pretraining corpus: a clip and the position in it (0-based)."""

    corpus: Path
    clip_id: str
    position: int


class UnreadableFrameError(UserError):
    """A file of frames that cannot be decoded."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path = path

    def concerns(self, frame: "AnyFrame") -> bool:
        """Whether a frame lies in that file."""
        return isinstance(frame, FrameReference) and frame.path == self.path


AnyFrame = FrameReference | CorpusFrame


def sort_key(frame: AnyFrame) -> tuple[str, str, int]:
    """Orders frames so that each file is opened once: by file, clip and frame number."""
    if isinstance(frame, CorpusFrame):
        return str(frame.corpus), frame.clip_id, frame.position
    return str(frame.path), "", -1 if frame.frame_index is None else frame.frame_index


def decode(frames: Sequence[AnyFrame], image_size: int) -> Iterator[np.ndarray]:
    """Decode frames in the order given; neighbors in one video or clip are read together.

    Args:
        frames: references; sort them by `sort_key`, so that no video is opened twice.
        image_size: side of the square, pixels. The whole frame is resized to it (`RESAMPLING`).

    Yields:
        uint8 (image_size, image_size, 3) RGB, one per reference.

    Raises:
        UnreadableFrameError: a file that cannot be decoded, or a frame number beyond the end of its video.
    """
    corpora: dict[Path, Corpus] = {}
    clips: dict[tuple[Path, str], Clip] = {}
    wanted = [frame for frame in frames if isinstance(frame, CorpusFrame)]
    for folder in dict.fromkeys(frame.corpus for frame in wanted):
        corpora[folder] = Corpus.open(folder)
        ids = list(dict.fromkeys(frame.clip_id for frame in wanted if frame.corpus == folder))
        clips.update({(folder, clip_id): clip for clip_id, clip in corpora[folder].find(ids).items()})
    with DecoderProcess(DecodingSettings()) as decoder:  # its child starts with the first video, if there is one
        for source, group in itertools.groupby(frames, key=_source):
            members = list(group)
            if isinstance(source, Path):
                indices = [frame.frame_index for frame in members if isinstance(frame, FrameReference)]
                natives = _read_file(source, indices, decoder)
            else:
                positions = [frame.position for frame in members if isinstance(frame, CorpusFrame)]
                natives = iter(corpora[source[0]].read(clips[source], positions))
            for native in natives:
                yield resize(native, image_size)


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """The whole image as a square: uint8 (H, W, 3) -> (size, size, 3)."""
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))


def _source(frame: AnyFrame) -> Path | tuple[Path, str]:
    return frame.path if isinstance(frame, FrameReference) else (frame.corpus, frame.clip_id)


def _read_file(path: Path, indices: list[int | None], decoder: DecoderProcess) -> Iterator[np.ndarray]:
    numbers = [index for index in indices if index is not None]
    if len(numbers) == len(indices):
        return _read_video(path, numbers, decoder)
    return (_read_image(path) for _ in indices)


def _read_image(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise UnreadableFrameError(path, f"image {str(path)!r} cannot be decoded ({error})") from error


def _read_video(path: Path, indices: list[int], decoder: DecoderProcess) -> Iterator[np.ndarray]:
    try:
        count = len(decoder.open(path).timestamps)
    except DecodeError as error:
        message = f"video {str(path)!r} cannot be decoded ({error}); it is damaged or no video"
        raise UnreadableFrameError(path, message) from error
    beyond = [index for index in indices if not 0 <= index < count]
    if beyond:
        raise UnreadableFrameError(path, f"video {str(path)!r} has {count} frames; frame {beyond[0]} was asked for")
    for index, frame in zip(indices, decoder.read(indices), strict=True):
        if isinstance(frame, Lost):
            raise UnreadableFrameError(path, f"frame {index} of video {str(path)!r} cannot be decoded ({frame.detail})")
        yield frame

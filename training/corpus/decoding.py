"""Opening videos for curation: the readers of `modeling_zen`, what they tell of a file, and which frames are sampled.

The files of the readers are imported without the package around them, which would bring transformers: seconds of work
in every process of curation.
"""

import importlib
import importlib.util
import math
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from training.errors import UserError

if TYPE_CHECKING:
    from modeling_zen.video_reader_zen import VideoReader

BACKENDS = ("decord", "pyav", "torchcodec")
READERS = ("auto", *BACKENDS)
MODES = ("exact", "keyframes")
DEINTERLACE = ("auto", "never")
_INSTALL = {"decord": "decord", "pyav": "av", "torchcodec": "torchcodec"}  # reader -> package, also to import


class DecodeError(Exception):
    """A video or frame that cannot be decoded. The message is one line, without paths or times of day."""


@dataclass(frozen=True)
class VideoFacts:
    """What opening a video tells."""

    frame_count: int  # frames that can be addressed
    fps: float  # average native rate
    timestamps: np.ndarray  # float64 (frame_count,) seconds from the first frame
    keyframes: list[int]
    stated_seconds: float  # length that the container states; more than the timestamps cover when it is truncated
    note: str  # "" or why another reader had to be used
    deinterlaced: bool = False  # whether frames of two fields are made whole pictures


@dataclass(frozen=True)
class Sampling:
    """The frames that stand for the sampling times of a video."""

    indices: np.ndarray  # int64 (M,) native frame numbers, ascending, each once
    error_mean: float  # seconds between a sampling time and the frame that stands for it, over all sampling times
    error_max: float


def reader_file(name: str) -> Any:
    """A module of `modeling_zen` by itself."""
    package = "zen_video_files"
    if package not in sys.modules:
        spec = importlib.util.find_spec("modeling_zen")
        if spec is None or spec.submodule_search_locations is None:
            raise ImportError("modeling_zen is not installed: pip install -e .")
        shell = types.ModuleType(package)
        shell.__path__ = list(spec.submodule_search_locations)
        sys.modules[package] = shell
    return importlib.import_module(f"{package}.{name}")


def check_reader(name: str) -> None:
    """Raise `UserError` when the reader does not exist or its library is not installed."""
    if name not in READERS:
        raise UserError(f"setting decoding.reader={name!r} is not a reader: it must be one of {', '.join(READERS)}")
    wanted = [name] if name != "auto" else ["pyav", "decord", "torchcodec"]
    if not any(importlib.util.find_spec("av" if each == "pyav" else each) for each in wanted):
        package = _INSTALL[wanted[0]]
        raise UserError(f"{package} is needed to read videos and is not installed: `pip install {package}`")


def open_video(path: Path, reader: str, threads: int, deinterlace: str) -> "VideoReader":
    """Open with the named reader, or with the cheapest one that reads the file ("auto").

    Args:
        path: of a video file.
        reader: one of `READERS`.
        threads: of the decoder.
        deinterlace: "auto" makes whole pictures of interlaced frames, which PyAV alone can tell; or "never".

    Raises:
        DecodeError: no reader can open it.
    """
    decoding = reader_file("video_decoding_zen")
    try:
        video = decoding.open_video(path, None if reader == "auto" else reader, threads=threads, is_sparse=True)
        if deinterlace == "auto" and video.is_interlaced:
            video.close()
            video = importlib.import_module("training.corpus.deinterlacing").DeinterlacingReader(str(path), threads)
    except (ValueError, OSError, reader_file("video_reader_zen").RefusedError) as error:
        raise DecodeError(without_path(error, path)) from error
    return video


def facts_of(video: "VideoReader") -> VideoFacts:
    """Everything that sampling needs to know about an open video."""
    times = np.asarray(video.timestamps(), np.float64)
    covered = float(times[-1]) + 1 / video.fps if len(times) else 0.0
    return VideoFacts(
        len(times),
        video.fps,
        times,
        video.keyframes(),
        max(video.stated_duration or 0.0, covered),
        video.note,
        video.backend == "deinterlacing",
    )


def read_arrays(video: "VideoReader", indices: list[int], path: Path) -> Iterator[np.ndarray]:
    """Frames uint8 (H, W, 3) RGB by ascending native number. Raises `DecodeError` for the first that is damaged."""
    count = 0
    try:
        for frame in video.arrays(indices):
            yield frame
            count += 1
    except ValueError as error:
        raise DecodeError(without_path(error, path)) from error
    if count < len(indices):
        raise DecodeError(f"{video.backend}: the video ends before frame {indices[count]}")


def choose_frames(facts: VideoFacts, fps: float, mode: str) -> Sampling:
    """The frames nearest to the times 0, 1/fps, 2/fps, ... (in mode "keyframes" the nearest key frames).

    Args:
        facts: of the video.
        fps: wanted samples per second; in mode "exact" every frame is taken at or above the native rate.
        mode: one of `MODES`.

    Raises:
        DecodeError: key frames are wanted of a video whose key frames have no known times.
    """
    if not len(facts.timestamps):
        return Sampling(np.zeros(0, np.int64), 0.0, 0.0)
    if mode == "keyframes" and not facts.keyframes:
        raise DecodeError("the file states no times of its key frames, which decoding.mode=keyframes needs")
    candidates = np.asarray(facts.keyframes, np.int64) if mode == "keyframes" else np.arange(facts.frame_count)
    starts, last = facts.timestamps[candidates], float(facts.timestamps[-1])
    nearest = np.asarray(reader_file("video_sampling_zen").nearest_frames(starts, fps, last), np.int64)
    errors = np.abs(starts[nearest] - np.arange(len(nearest)) / fps)
    return Sampling(candidates[np.unique(nearest)], float(errors.mean()), float(errors.max()))


def lost_tail(facts: VideoFacts, fps: float, end: float = math.inf) -> tuple[float, float, int] | None:
    """Sampling times before `end` that the container states but no frame covers: first, last, count; or `None`.

    Stated lengths are approximate (audio may run longer), so up to one second or 2 % is not called a loss.
    """
    covered = float(facts.timestamps[-1]) + 1 / facts.fps if len(facts.timestamps) else 0.0
    if facts.stated_seconds - covered <= max(1.0, 0.02 * facts.stated_seconds):
        return None
    first = math.ceil(covered * fps - 1e-6)
    last = math.ceil(min(facts.stated_seconds, end) * fps - 1e-6) - 1
    return (first / fps, last / fps, last - first + 1) if last >= first else None


def without_path(error: Exception, path: Path) -> str:
    """The message of a reader, without the name of the file."""
    text = str(error).replace(f"video {str(path)!r} ", "").replace(str(path), "the file")
    return text.removeprefix("is damaged: ").splitlines()[0][:300] if text else type(error).__name__

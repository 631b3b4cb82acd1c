"""Video decoders behind `VideoReader`: decord, PyAV and torchcodec, the first that is installed and can read the file.

The backends give the same numbers and times for the same file, and the same pixels where it holds whole pictures of 8
bits. (Of interlaced ones, and of ones with more bits, each interpolates colours in its own way: they differ along
edges.) PyAV is cheapest at scattered frames; decord exists for Linux x86_64 only.
"""

import contextlib
import importlib
import importlib.util
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .video_container_zen import has_index, is_cut_short
from .video_pyav_zen import PyAVReader
from .video_reader_zen import FrameChunk, RefusedError, VideoReader, damaged, reason_of, stated_rate
from .video_sampling_zen import nearest_frames, sample_indices


class _DecordReader(VideoReader):
    backend = "decord"

    def __init__(self, source: str, threads: int) -> None:
        self.source = source
        decord = _import_decord()
        try:
            self._video = decord.VideoReader(source, num_threads=threads)
            self._count = len(self._video)
            if not self._count:
                raise RefusedError("the video has no frames")
            shape = self._video[0].shape
            self._video.seek(0)
        except RefusedError:
            raise
        except Exception as error:  # decord's errors have no common base
            raise RefusedError(reason_of(error, source)) from error
        if len(shape) != 3 or shape[2] != 3:  # decord turns rotated videos into noise of four channels
            raise RefusedError("decord cannot read rotated videos")
        _refuse_misread(self.backend, source)
        if 0 not in self._video.get_key_indices()[:1]:
            raise RefusedError("decord cannot read recordings that begin between key frames")
        if self._video.get_frame_timestamp(0)[0] < 0:  # it counts frames that are not to be shown
            raise RefusedError("decord miscounts the frames of a video whose beginning is cut off by an edit list")
        self.height, self.width = int(shape[0]), int(shape[1])
        self.fps = stated_rate(self._video.get_avg_fps())
        self._times: np.ndarray | None = None

    @property
    def num_frames(self) -> int:
        return self._count

    def close(self) -> None:
        self._video = None

    def _decode(self, numbers: Iterator[int], chunk: int) -> Iterator[FrameChunk]:
        import torch

        while batch := list(itertools.islice(numbers, chunk)):
            try:
                pixels = torch.utils.dlpack.from_dlpack(self._video.get_batch(batch).to_dlpack())
            except Exception as error:
                raise damaged(self, batch[0], error) from error
            yield FrameChunk(batch, self.timestamps()[batch].tolist(), pixels)

    def arrays(self, indices: Iterable[int]) -> Iterator[np.ndarray]:
        for number in self._ascending(indices):
            try:
                yield self._video[number].asnumpy()
            except Exception as error:
                raise damaged(self, number, error) from error

    def keyframes(self) -> list[int]:
        return [int(number) for number in self._video.get_key_indices()]

    def timestamps(self) -> np.ndarray:
        """See `VideoReader`. decord keeps 32-bit floats; times of a constant rate are restored to full precision."""
        if self._times is None:
            stated = np.asarray(self._video.get_frame_timestamp(range(self._count)), np.float64)[:, 0]
            stated -= stated[0]
            constant = np.arange(self._count) / self.fps
            self._times = np.where(np.abs(stated - constant) <= 1e-6 + 2e-7 * constant, constant, stated)
        return self._times


class _TorchCodecReader(VideoReader):
    backend = "torchcodec"

    def __init__(self, source: str, threads: int) -> None:
        self.source = source
        try:
            decoders: Any = importlib.import_module("torchcodec.decoders")
        except (ImportError, OSError, RuntimeError) as error:
            raise RefusedError(
                "torchcodec cannot load FFmpeg's libraries, which do not come with it: install FFmpeg"
            ) from error
        try:
            # By default it would decode on torch's default device.
            self._video = decoders.VideoDecoder(
                source, dimension_order="NHWC", num_ffmpeg_threads=threads, device="cpu"
            )
            metadata = self._video.metadata
            self._count = int(metadata.num_frames or 0)
            if not self._count:
                raise RefusedError("the video has no frames")
            first = self._video.get_frame_at(0)
        except (RuntimeError, ValueError, IndexError) as error:
            raise RefusedError(reason_of(error, source)) from error
        _refuse_misread(self.backend, source)
        self._start = float(first.pts_seconds)
        if metadata.begin_stream_seconds < self._start - 1e-6:  # it counts frames that cannot be decoded
            raise RefusedError("torchcodec cannot read recordings that begin between key frames")
        self.height, self.width = (int(side) for side in first.data.shape[:2])
        # The rate as the others read it: frames by duration where the container states both, else its nominal one.
        rate, seconds = metadata.average_fps_from_header, metadata.duration_seconds_from_header
        is_whole = bool(seconds) and metadata.num_frames_from_header == self._count
        self.fps = stated_rate(self._count / seconds if is_whole else rate)
        self._times: np.ndarray | None = None

    @property
    def num_frames(self) -> int:
        return self._count

    def _decode(self, numbers: Iterator[int], chunk: int) -> Iterator[FrameChunk]:
        while batch := list(itertools.islice(numbers, chunk)):
            try:
                frames = self._video.get_frames_at(indices=batch)
            except Exception as error:
                raise damaged(self, batch[0], error) from error
            yield FrameChunk(batch, (frames.pts_seconds.double() - self._start).tolist(), frames.data)

    def keyframes(self) -> list[int]:
        return [int(number) for number in self._video._get_key_frame_indices()]

    def timestamps(self) -> np.ndarray:
        """See `VideoReader`. torchcodec tells the time of a frame only by decoding it: this decodes the whole video."""
        if self._times is None:
            times = [time for chunk in self.frames() for time in chunk.timestamps]
            self._times = np.array(times)
        return self._times


# In the order in which they are tried: name -> reader, module to import, what to install.
_BACKENDS: dict[str, tuple[type[Any], str, str]] = {
    "decord": (_DecordReader, "decord", "pip install decord (Linux x86_64 only)"),
    "pyav": (PyAVReader, "av", "pip install av"),
    "torchcodec": (_TorchCodecReader, "torchcodec", "pip install torchcodec, and FFmpeg"),
}
BACKENDS = tuple(_BACKENDS)


def installed_backends() -> list[str]:
    """Names of the backends whose package is installed, in the order in which they are tried."""
    return [name for name, (_, module, _) in _BACKENDS.items() if importlib.util.find_spec(module) is not None]


def preferred_backends(is_sparse: bool) -> list[str]:
    """Names of the installed backends, the cheapest first, as measured (table in docs/corpus_decoding.md).

    Of scattered frames PyAV decodes only what they need: at 1 and 5 frames per second of H.264 it took 0.6 to 0.7 of
    decord's processor time, whatever the distance of the key frames, and less of it in older codecs.
    """
    return sorted(installed_backends(), key=lambda name: is_sparse and name != "pyav")


def open_video(
    source: str | os.PathLike[str], backend: str | None = None, *, threads: int = 0, is_sparse: bool = False
) -> VideoReader:
    """Open a video file, or a URL that serves one.

    decord reads no URLs; rotated videos, MPEG-TS and other streams without an index, files that are cut short, videos
    that begin between key frames or within an edit list it would read wrongly, which is refused; PyAV reads all of
    these (what is there of them). torchcodec reads edit lists and rotated videos and refuses the rest alike. A decoder
    is C code in this process, and a damaged stream may make it hang: read files of unknown origin in a process of their
    own. Of several video streams in one file PyAV reads the first, the others the one that their FFmpeg holds for best.

    Args:
        source: Path or URL.
        backend: `decord`, `pyav` or `torchcodec`, and no other; `None` takes the first of `preferred_backends` that can
            read the source (`reader.backend` says which, `reader.note` why not the one before).
        threads: Threads of the decoder; 0 leaves it to the decoder.
        is_sparse: Whether only a sample of the frames will be read.

    Raises:
        FileNotFoundError: No such file.
        ImportError: The backend, or any backend, is not installed.
        ValueError: Unknown backend; or a source that no backend can read: damaged, no video stream, no frames.
    """
    name = os.fspath(source)
    if backend is not None and backend not in _BACKENDS:
        raise ValueError(f"video backend {backend!r} does not exist; there are {', '.join(BACKENDS)}")
    if "://" not in name and not Path(name).is_file():
        is_what = "is a folder, not a video file" if Path(name).is_dir() else "does not exist"
        raise FileNotFoundError(f"video {name!r} {is_what}")
    installed = preferred_backends(is_sparse)
    if not installed:
        raise ImportError("no video decoder is installed: pip install decord (Linux x86_64 only) or pip install av")
    if backend is not None and backend not in installed:
        raise ImportError(f"video backend {backend!r} is not installed: {_BACKENDS[backend][2]}")
    refusals: list[str] = []
    for each in [backend] if backend is not None else installed:
        try:
            if each != "pyav" and "://" in name:
                raise RefusedError(f"{each} reads files only, no URLs")
            reader: VideoReader = _BACKENDS[each][0](name, threads)
        except RefusedError as error:
            refusals.append(f"{each}: {error}")
        else:
            reader.note = "; ".join(refusals)
            return reader
    raise ValueError(f"video {name!r} cannot be read ({'; '.join(refusals)})")


def _refuse_misread(backend: str, source: str) -> None:
    """Refuse the files in which decord and torchcodec give other frames than those asked for, without an error."""
    # In MPEG-TS decord lands one group of pictures late; torchcodec does so too, and in MPEG-PS.
    if not has_index(source):
        raise RefusedError(f"{backend} finds the right frames only in MP4, MOV, MKV, WebM and AVI files")
    if is_cut_short(source):  # they end quietly, the last frame half a picture
        raise RefusedError(f"{backend} does not notice that the file is cut short")


def _import_decord() -> Any:
    if importlib.util.find_spec("cv2") is not None:
        # Both bring a libpng; when decord's is loaded first, cv2.imread fails on every PNG from then on.
        with contextlib.suppress(ImportError):
            importlib.import_module("cv2")
    decord: Any = importlib.import_module("decord")
    decord.logging.set_level(decord.logging.QUIET)  # what matters comes as an exception
    return decord


__all__ = [
    "BACKENDS",
    "FrameChunk",
    "VideoReader",
    "installed_backends",
    "nearest_frames",
    "open_video",
    "sample_indices",
]

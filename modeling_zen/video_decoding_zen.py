"""Video decoders behind `VideoReader`: decord, PyAV and torchcodec, the first that is installed and can read the file.

The backends give the same numbers and times for the same file, and the same pixels where it holds whole pictures of 8
bits. (Of interlaced ones, and of ones with more bits, each interpolates colours in its own way: they differ along
edges.) decord is quickest at scattered frames, and exists for Linux x86_64 only.
"""

import contextlib
import importlib
import importlib.util
import itertools
import math
import os
import re
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from .video_container_zen import has_index, is_cut_short
from .video_reader_zen import CHUNK, FrameChunk, VideoReader, sample_indices


class _RefusedError(Exception):
    """A backend cannot read the source; the message says why, without the path."""


class _DecordReader(VideoReader):
    backend = "decord"

    def __init__(self, source: str, threads: int) -> None:
        self.source = source
        decord = _import_decord()
        try:
            self._video = decord.VideoReader(source, num_threads=threads)
            self._count = len(self._video)
            if not self._count:
                raise _RefusedError("the video has no frames")
            shape = self._video[0].shape
            self._video.seek(0)
        except _RefusedError:
            raise
        except Exception as error:  # decord's errors have no common base
            raise _RefusedError(_reason(error)) from error
        if len(shape) != 3 or shape[2] != 3:  # decord turns rotated videos into noise of four channels
            raise _RefusedError("decord cannot read rotated videos")
        _refuse_misread(self.backend, source)
        if 0 not in self._video.get_key_indices()[:1]:
            raise _RefusedError("decord cannot read recordings that begin between key frames")
        if self._video.get_frame_timestamp(0)[0] < 0:  # it counts frames that are not to be shown
            raise _RefusedError("decord miscounts the frames of a video whose beginning is cut off by an edit list")
        self.height, self.width = int(shape[0]), int(shape[1])
        self.fps = _rate(self._video.get_avg_fps())
        self._times: torch.Tensor | None = None

    @property
    def num_frames(self) -> int:
        return self._count

    def close(self) -> None:
        self._video = None

    def _decode(self, numbers: Iterator[int], chunk: int) -> Iterator[FrameChunk]:
        while batch := list(itertools.islice(numbers, chunk)):
            try:
                pixels = torch.utils.dlpack.from_dlpack(self._video.get_batch(batch).to_dlpack())
            except Exception as error:
                raise _damaged(self, batch[0], error) from error
            yield FrameChunk(batch, self._timestamps()[batch].tolist(), pixels)

    def _timestamps(self) -> torch.Tensor:
        """float64 (frames,). decord keeps 32-bit floats; times of a constant rate are restored to full precision."""
        if self._times is None:
            stated = torch.from_numpy(self._video.get_frame_timestamp(range(self._count)))[:, 0].double()
            stated = stated - stated[0]
            constant = torch.arange(self._count, dtype=torch.float64) / self.fps
            self._times = torch.where((stated - constant).abs() <= 1e-6 + 2e-7 * constant, constant, stated)
        return self._times


class _PyAVReader(VideoReader):
    """Reads on; jumps over key frames only where an index of the packets (made when first needed) says it may."""

    backend = "pyav"

    def __init__(self, source: str, threads: int) -> None:
        self.source = source
        self._av = importlib.import_module("av")
        self._threads = threads
        self._index: _PacketIndex | None = None
        try:
            self._open()
        except self._av.FFmpegError as error:
            raise _RefusedError(_reason(error)) from error
        if self._ahead is None:
            raise _RefusedError("the video has no frames")
        self._first_pts = self._ahead.pts
        self._is_live = not Path(source).is_file() and not self._container.duration
        self.fps = _rate(self._stream.average_rate or self._stream.guessed_rate)
        self.height, self.width = (int(side) for side in self._pixels(self._ahead).shape[:2])

    @property
    def num_frames(self) -> int | None:
        return None if self._is_live else self._packets().count

    def close(self) -> None:
        self._container.close()

    def _open(self) -> None:
        self._container = self._av.open(self.source, metadata_errors="replace")  # a title in Latin-1 is no damage
        cover = self._av.stream.Disposition.attached_pic  # the picture of a sound file
        streams = [each for each in self._container.streams.video if not each.disposition & cover]
        if not streams:
            raise _RefusedError("the file has no video stream")
        self._stream = streams[0]
        self._stream.thread_type = "AUTO"
        self._stream.codec_context.thread_count = self._threads
        self._promised = self._stream.frames  # by the container; 0 where it says nothing
        self._decoder = self._pictures(is_beginning=True)
        self._ahead: Any = next(self._decoder, None)  # a decoded frame that was not handed out yet
        self._next = 0  # its number

    def _pictures(self, is_beginning: bool) -> Iterator[Any]:
        early: list[int] | None = [] if is_beginning else None
        for packet in self._container.demux(self._stream):
            frames = packet.decode()
            if early is not None and packet.pts is not None:
                early.append(packet.pts)
            if early is not None and frames and frames[0].pts is not None:
                # Not shown: what an edit list cuts off, what comes before the first key frame.
                self._promised -= sum(pts < frames[0].pts for pts in early)
                early = None
            yield from frames

    def _all(self, step: int) -> Iterator[int]:
        return itertools.count(0, step)  # reading on needs no index

    def _decode(self, numbers: Iterator[int], chunk: int) -> Iterator[FrameChunk]:
        while batch := list(itertools.islice(numbers, chunk)):
            pixels = torch.empty((len(batch), self.height, self.width, 3), dtype=torch.uint8)
            # numpy copies without waking a pool of threads, which would take as long as decoding.
            memory = pixels.numpy()
            times: list[float] = []
            failure: ValueError | None = None
            for number in batch:
                try:
                    frame = self._frame(number)
                except self._av.FFmpegError as error:
                    failure = _damaged(self, self._next, error)
                    break
                if frame is None:
                    failure = self._early_end()
                    break
                picture = self._pixels(frame)
                if picture.shape != memory.shape[1:]:
                    sizes = [f"{size[1]} x {size[0]}" for size in (memory.shape[1:], picture.shape)]
                    failure = ValueError(f"video {self.source!r} changes from {' to '.join(sizes)} at frame {number}")
                    break
                memory[len(times)] = picture
                times.append(self._time(frame, number))
            if times:
                yield FrameChunk(batch[: len(times)], times, pixels[: len(times)])
            if failure is not None:
                raise failure
            if len(times) < len(batch):
                return

    def _early_end(self) -> ValueError | None:
        """What is wrong, now that there are no more frames, if something is."""
        reason = ""
        # Frame threads swallow errors of their last packets. Single frames are no sign of damage.
        if self._next < 0.99 * self._promised - 2:
            reason = f"the file promises {self._promised} frames"
        elif Path(self.source).is_file() and is_cut_short(self.source):
            reason = "the file is cut short"
        return _damaged(self, self._next, ValueError(reason)) if reason else None

    def _time(self, frame: Any, number: int) -> float:
        if frame.pts is None or self._first_pts is None:  # raw streams state no times
            return number / self.fps
        return float((frame.pts - self._first_pts) * frame.time_base)

    def _frame(self, number: int) -> Any:
        """The decoded frame of this number; `None` where the video ends before."""
        if number < self._next or (number - self._next > CHUNK and not self._is_live):
            self._jump(number)
        while self._ahead is not None and self._next < number:
            self._next += 1
            self._ahead = next(self._decoder, None)
        return self._ahead

    def _jump(self, number: int) -> None:
        """Go to the last key frame at or before `number`, or to the beginning; stay if that would lead back."""
        packets = self._packets()
        key = packets.key_before(number)
        if key <= self._next <= number:
            return
        if key:
            self._container.seek(packets.times[key], stream=self._stream)
            self._decoder = self._pictures(is_beginning=False)
            self._ahead = next(self._decoder, None)
            landed = None if self._ahead is None else packets.number_of(self._ahead.pts)
            if landed is not None and landed <= number:
                self._next = landed
                return
        self._container.close()
        self._open()

    def _packets(self) -> "_PacketIndex":
        if self._index is None:
            self._index = _PacketIndex(self._av, self.source, self._stream.index, self._first_pts)
        return self._index

    def _pixels(self, frame: Any) -> Any:
        """Numpy uint8 (height, width, 3), rotated as the container says (PyAV gives degrees against the clock)."""
        pixels = frame.to_ndarray(format="rgb24")
        quarters = round(frame.rotation / 90) % 4
        return torch.rot90(torch.from_numpy(pixels), quarters, (0, 1)).numpy() if quarters else pixels


class _PacketIndex:
    """Presentation times and key frames of a video stream, from its packets alone."""

    def __init__(self, av: Any, source: str, stream: int, first: int | None) -> None:
        packets: list[tuple[int | None, bool]] = []
        # A cut file ends in an error.
        with av.open(source, metadata_errors="replace") as container, contextlib.suppress(av.FFmpegError):
            for packet in container.demux(container.streams[stream]):
                # Recordings that begin between key frames: what comes before the first frame shown cannot be decoded.
                is_early = first is not None and packet.pts is not None and packet.pts < first
                if packet.size and not packet.is_discard and not is_early:
                    packets.append((packet.pts, packet.is_keyframe))
        self.count = len(packets)
        # Streams without times, and fields or layers that share one, can only be counted through from the beginning.
        times = sorted(pts for pts, _ in packets if pts is not None)
        self.times = times if len(set(times)) == self.count else []
        keys = {pts for pts, is_key in packets if is_key}
        self._keys = [number for number, pts in enumerate(self.times) if pts in keys]

    def key_before(self, number: int) -> int:
        """Number of the last key frame at or before this one; 0 if there is none."""
        place = bisect_right(self._keys, number)
        return self._keys[place - 1] if place else 0

    def number_of(self, pts: int | None) -> int | None:
        if pts is None:
            return None
        place = bisect_right(self.times, pts) - 1
        return place if place >= 0 and self.times[place] == pts else None


class _TorchCodecReader(VideoReader):
    backend = "torchcodec"

    def __init__(self, source: str, threads: int) -> None:
        self.source = source
        try:
            decoders: Any = importlib.import_module("torchcodec.decoders")
        except (ImportError, OSError, RuntimeError) as error:
            raise _RefusedError(
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
                raise _RefusedError("the video has no frames")
            first = self._video.get_frame_at(0)
        except (RuntimeError, ValueError, IndexError) as error:
            raise _RefusedError(_reason(error)) from error
        _refuse_misread(self.backend, source)
        self._start = float(first.pts_seconds)
        if metadata.begin_stream_seconds < self._start - 1e-6:  # it counts frames that cannot be decoded
            raise _RefusedError("torchcodec cannot read recordings that begin between key frames")
        self.height, self.width = (int(side) for side in first.data.shape[:2])
        # The rate as the others read it: frames by duration where the container states both, else its nominal one.
        rate, seconds = metadata.average_fps_from_header, metadata.duration_seconds_from_header
        self.fps = _rate(self._count / seconds if seconds and metadata.num_frames_from_header == self._count else rate)

    @property
    def num_frames(self) -> int:
        return self._count

    def _decode(self, numbers: Iterator[int], chunk: int) -> Iterator[FrameChunk]:
        while batch := list(itertools.islice(numbers, chunk)):
            try:
                frames = self._video.get_frames_at(indices=batch)
            except Exception as error:
                raise _damaged(self, batch[0], error) from error
            yield FrameChunk(batch, (frames.pts_seconds.double() - self._start).tolist(), frames.data)


# In the order in which they are tried: name -> reader, module to import, what to install.
_BACKENDS: dict[str, tuple[type[Any], str, str]] = {
    "decord": (_DecordReader, "decord", "pip install decord (Linux x86_64 only)"),
    "pyav": (_PyAVReader, "av", "pip install av"),
    "torchcodec": (_TorchCodecReader, "torchcodec", "pip install torchcodec, and FFmpeg"),
}
BACKENDS = tuple(_BACKENDS)


def installed_backends() -> list[str]:
    """Names of the backends whose package is installed, in the order in which they are tried."""
    return [name for name, (_, module, _) in _BACKENDS.items() if importlib.util.find_spec(module) is not None]


def open_video(source: str | os.PathLike[str], backend: str | None = None, *, threads: int = 0) -> VideoReader:
    """Open a video file, or a URL that serves one.

    decord reads no URLs; rotated videos, MPEG-TS and other streams without an index, files that are cut short, videos
    that begin between key frames or within an edit list it would read wrongly, which is refused; PyAV reads all of
    these (what is there of them). torchcodec reads edit lists and rotated videos and refuses the rest alike. A decoder
    is C code in this process, and a damaged stream may make it hang: read files of unknown origin in a process of their
    own. Of several video streams in one file PyAV reads the first, the others the one that their FFmpeg holds for best.

    Args:
        source: Path or URL.
        backend: `decord`, `pyav` or `torchcodec`, and no other; `None` takes the first installed one that can read the
            source (`reader.backend` says which, `reader.note` why not the one before).
        threads: Threads of the decoder; 0 leaves it to the decoder.

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
    installed = installed_backends()
    if not installed:
        raise ImportError("no video decoder is installed: pip install decord (Linux x86_64 only) or pip install av")
    if backend is not None and backend not in installed:
        raise ImportError(f"video backend {backend!r} is not installed: {_BACKENDS[backend][2]}")
    refusals: list[str] = []
    for each in [backend] if backend is not None else installed:
        try:
            if each != "pyav" and "://" in name:
                raise _RefusedError(f"{each} reads files only, no URLs")
            reader: VideoReader = _BACKENDS[each][0](name, threads)
        except _RefusedError as error:
            refusals.append(f"{each}: {error}")
        else:
            reader.note = "; ".join(refusals)
            return reader
    raise ValueError(f"video {name!r} cannot be read ({'; '.join(refusals)})")


def _refuse_misread(backend: str, source: str) -> None:
    """Refuse the files in which decord and torchcodec give other frames than those asked for, without an error."""
    # In MPEG-TS decord lands one group of pictures late; torchcodec does so too, and in MPEG-PS.
    if not has_index(source):
        raise _RefusedError(f"{backend} finds the right frames only in MP4, MOV, MKV, WebM and AVI files")
    if is_cut_short(source):  # they end quietly, the last frame half a picture
        raise _RefusedError(f"{backend} does not notice that the file is cut short")


def _import_decord() -> Any:
    if importlib.util.find_spec("cv2") is not None:
        # Both bring a libpng; when decord's is loaded first, cv2.imread fails on every PNG from then on.
        with contextlib.suppress(ImportError):
            importlib.import_module("cv2")
    decord: Any = importlib.import_module("decord")
    decord.logging.set_level(decord.logging.QUIET)  # what matters comes as an exception
    return decord


def _damaged(reader: VideoReader, number: int, error: Exception) -> ValueError:
    reason = f"{reader.backend} cannot decode frame {number} ({_reason(error)})"
    return ValueError(f"video {reader.source!r} is damaged: {reason}")


def _rate(stated: Any) -> float:
    rate = float(stated or 0)
    return rate if 0 < rate < math.inf else 25.0  # FFmpeg's own assumption for streams that state none


def _reason(error: Exception) -> str:
    """The sentence in a decoder's message: no stack, no source location, no time of day, no path."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    if "cannot find video stream" in text:
        return "the file has no video stream"
    text = re.sub(r"^\[\d\d:\d\d:\d\d\]\s*|/\S+\.(?:cc|h|cpp):\d+:\s*|\[Errno -?\d+\]\s*", "", text)
    text = re.sub(r"^\[[^\]]*\]\s*|^\w+, /\S+\.cpp:\d+, ", "", text)
    text = re.sub(r"(Error reading|ERROR opening:?) .*?(\.\.\.|,|$)", r"\1 the file", text)
    return re.sub(r":?\s*'[^']*'$", "", text).split(". ")[0].strip().rstrip(".")[:200]


__all__ = ["BACKENDS", "FrameChunk", "VideoReader", "installed_backends", "open_video", "sample_indices"]

"""Where the frames of a stream come from: one class per kind of source, all with the same single method."""

import contextlib
import importlib
import importlib.util
import math
import os
import re
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from modeling_zen.video_decoding_zen import open_video
from modeling_zen.video_sampling_zen import sample_indices

# What to tell FFmpeg unless told otherwise. RTSP over TCP, since hospital networks lose UDP packets under load; and no
# frames held back for reordering what arrives, nor seconds of stream read before the first frame.
_NETWORK_OPTIONS = {"rtsp_transport": "tcp", "fflags": "nobuffer", "probesize": "500000", "analyzeduration": "1000000"}
_FILE_CHUNK = 8  # frames decoded at once: a twelfth of the overhead of one by one, and 50 MB of 1920 x 1080


class SourceLostError(ConnectionError):
    """The source has gone, and may come back."""


class Grab(NamedTuple):
    """One frame as a source gives it."""

    number: int | None  # in the source; `None`: the next one
    seconds: float | None  # on the clock of the source; `None`: it has none
    pixels: torch.Tensor  # uint8 (height, width, 3), RGB
    decode_seconds: float | None


class Source(ABC):
    """Something with frames.

    Attributes:
        name: For messages.
        is_live: Whether its frames come when they come, whether they are taken or not.
        step_back_allowed: Seconds that its times may go back without a meaning.
        can_restart: Whether times that go back further are those of a sender that was restarted, and no mistake.
        can_return: Whether opening it again may help once it is lost.
        backend: What decodes it; known once it is open.
        packets_damaged: Packets that the decoder refused.
    """

    name: str
    is_live = False
    step_back_allowed = math.inf  # a file states what it states
    can_restart = False
    can_return = False
    backend = ""
    packets_damaged = 0

    @abstractmethod
    def frames(self, stop: threading.Event) -> Iterator[Grab]:
        """Open the source and give its frames until it ends; closing the iterator closes the source.

        Raises:
            SourceLostError: It went away, or cannot be opened now.
            ValueError: Another try would not help.
        """

    def close(self) -> None:
        """Let go of what was opened with the object; a second call does nothing. Most open nothing before `frames`."""
        return None


class FileSource(Source):
    """A video file.

    With `fps`, frames as `sample_indices` chooses them, as `ZenVideoProcessor` does.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: No video decoder is installed.
        ValueError: It is no video, or `fps` is above its rate.
    """

    def __init__(self, path: str, *, fps: float | None, one_by_one: bool) -> None:
        self.name = path
        self._reader = open_video(path, is_sparse=fps is not None)
        self.backend = self._reader.backend
        self._chunk = 1 if one_by_one else _FILE_CHUNK
        self._numbers: list[int] | None = None
        if fps is not None:
            try:
                count, times = self._reader.num_frames or 0, self._reader.timestamps()
                self._numbers = sample_indices(count, self._reader.fps, fps=fps, timestamps=times)
            except ValueError:
                self.close()
                raise

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def frames(self, stop: threading.Event) -> Iterator[Grab]:
        """See the base class; a file is read once."""
        with self._reader:
            chunks = self._reader.frames(self._numbers, chunk=self._chunk)
            while True:
                start = time.perf_counter()
                chunk = next(chunks, None)
                if chunk is None:
                    return
                each = (time.perf_counter() - start) / len(chunk.numbers)
                for number, seconds, pixels in zip(*chunk, strict=True):
                    yield Grab(number, seconds, pixels, each)


class LiveSource(Source):
    """A camera or a network stream, decoded by PyAV.

    Args:
        url: What FFmpeg calls it.
        name: For messages.
        format: FFmpeg's input format; `None` leaves it to FFmpeg.
        options: FFmpeg's options.
        timeout: Seconds without a frame after which it is lost.

    Raises:
        ImportError: PyAV is not installed.
    """

    is_live = True
    step_back_allowed = 1.0  # damaged packets state odd times; a sender that is restarted begins near 0
    can_restart = True
    can_return = True

    def __init__(self, url: str, *, name: str, format: str | None, options: dict[str, str], timeout: float) -> None:
        if importlib.util.find_spec("av") is None:
            raise ImportError(f"{name} needs PyAV, which is not installed: pip install av")
        self.name = name
        self.backend = "pyav"
        self._url = url
        self._format = format
        self._options = options
        self._timeout = timeout

    def frames(self, stop: threading.Event) -> Iterator[Grab]:
        """See the base class."""
        av = importlib.import_module("av")
        try:
            container = av.open(self._url, format=self._format, options=self._options, timeout=self._timeout)
        except av.FFmpegError as error:
            raise SourceLostError(f"{self.name} cannot be opened: {_sentence(error)}") from error
        with container:
            if not container.streams.video:
                raise ValueError(f"{self.name} sends no video")
            stream = container.streams.video[0]
            stream.thread_type = "SLICE"  # threads over frames would hold as many frames back
            try:
                yield from self._decode(av, container, stream, stop)
            except av.FFmpegError as error:
                raise SourceLostError(f"{self.name} was lost: {_sentence(error)}") from error
            if not container.duration and not stop.is_set():  # what has a duration is a file, and has ended
                raise SourceLostError(f"{self.name} was lost: it ended")

    def _decode(self, av: Any, container: Any, stream: Any, stop: threading.Event) -> Iterator[Grab]:
        last = time.perf_counter()
        for packet in container.demux(stream):
            if stop.is_set():
                return
            start = time.perf_counter()
            try:
                pictures = packet.decode()
            except av.error.InvalidDataError:  # a lost datagram; what comes before the first key frame
                self.packets_damaged += 1
                pictures = []
            decoding = (time.perf_counter() - start) / max(len(pictures), 1)
            for picture in pictures:
                start = time.perf_counter()
                pixels = torch.from_numpy(picture.to_ndarray(format="rgb24"))
                pixels = torch.rot90(pixels, round(picture.rotation / 90) % 4, (0, 1))
                seconds = None if picture.pts is None else float(picture.pts * picture.time_base)
                yield Grab(None, seconds, pixels, decoding + time.perf_counter() - start)
                last = time.perf_counter()  # not before: however long the frame was held, the source did not do it
            if time.perf_counter() - last > self._timeout:
                raise SourceLostError(f"{self.name} was lost: {self._timeout:g} s without a frame that can be decoded")


class IteratorSource(Source):
    """Frames of the caller: uint8 (height, width, 3) RGB each, or pairs of seconds and such a frame.

    A callable is asked for a new iterator whenever the one before fails.
    """

    backend = "iterator"
    step_back_allowed = 0.0

    def __init__(self, given: Iterable[Any] | Callable[[], Iterable[Any]]) -> None:
        self.name = "the iterator of frames"
        self._given = given
        self.can_return = callable(given)

    def frames(self, stop: threading.Event) -> Iterator[Grab]:
        """See the base class."""
        count = 0
        try:
            iterator = iter(self._given() if callable(self._given) else self._given)
            for item in iterator:
                seconds, frame = item if isinstance(item, tuple) and len(item) == 2 else (None, item)
                yield Grab(None, None if seconds is None else _seconds(seconds, count), _pixels(frame, count), None)
                count += 1
        except _FrameError:
            raise
        except Exception as error:
            kind = SourceLostError if self.can_return else ValueError
            raise kind(f"{self.name} failed after {count} frames: {type(error).__name__}: {error}") from error


class _FrameError(ValueError):
    """A frame of the caller is no frame, or its time no time."""


def make_source(
    source: Any,
    *,
    fps: float | None,
    realtime: bool,
    timeout: float,
    options: Mapping[str, str] | None,
) -> Source:
    """The source that is meant by a path, URL, camera or iterator; see `ZenStream`.

    Raises:
        FileNotFoundError: No such file or camera.
        ImportError: No decoder for it is installed.
        ValueError: Nothing that a source can be made of, or `realtime` or `options` for one that has no use for them.
    """
    is_name = isinstance(source, str | os.PathLike)
    is_camera = isinstance(source, int) and not isinstance(source, bool)
    is_camera = is_camera or (is_name and str(source).startswith("/dev/video"))
    if is_camera or (is_name and "://" in str(source)):
        url = str(source)
        # Passwords do not belong into messages and reports; FFmpeg too takes what is before the last @ for one.
        name = re.sub(r"://[^/?#]*@", "://", url)
        if realtime:
            raise ValueError(f"realtime paces a file; {name} is live already")
        if is_camera:
            return _camera(source, options, timeout)
        return LiveSource(url, name=name, format=None, options={**_NETWORK_OPTIONS, **(options or {})}, timeout=timeout)
    if options:
        raise ValueError("options are FFmpeg's for cameras and network streams; this source is neither")
    if is_name:
        return FileSource(os.fspath(source), fps=fps, one_by_one=realtime)
    if realtime:
        raise ValueError("realtime paces a file; an iterator of frames can pace itself")
    if not callable(source) and not isinstance(source, Iterable):
        raise ValueError(
            "source must be a video file, a URL, the number of a camera, an iterator of frames or a function that "
            f"makes one, not a {type(source).__name__}"
        )
    return IteratorSource(source)


def _camera(source: Any, options: Mapping[str, str] | None, timeout: float) -> LiveSource:
    path = f"/dev/video{source}" if isinstance(source, int) else str(source)
    if sys.platform != "linux":
        raise ValueError("cameras are read through Video4Linux, which is on Linux only; give an iterator of frames")
    if not Path(path).exists():
        present = sorted(str(each) for each in Path("/dev").glob("video*"))
        raise FileNotFoundError(f"there is no camera {path}; this machine has {', '.join(present) or 'none'}")
    return LiveSource(path, name=f"camera {path}", format="v4l2", options=dict(options or {}), timeout=timeout)


def _seconds(given: Any, place: int) -> float:
    """The time of a frame of the caller."""
    seconds = math.nan
    with contextlib.suppress(TypeError, ValueError):
        seconds = float(given)
    if not math.isfinite(seconds):
        raise _FrameError(
            f"the time of frame {place} of the iterator must be a finite number of seconds, not {given!r}"
        )
    return seconds


def _pixels(frame: Any, place: int) -> torch.Tensor:
    """uint8 (height, width, 3) of a tensor, an array or an image of PIL: a copy, the caller may reuse the memory."""
    tensor = frame.clone() if isinstance(frame, torch.Tensor) else None
    if tensor is None:
        with contextlib.suppress(TypeError, ValueError):
            tensor = torch.from_numpy(np.array(frame))
    if tensor is None or tensor.dtype != torch.uint8 or tensor.ndim != 3 or tensor.shape[2] != 3 or not tensor.numel():
        found = type(frame).__name__ if tensor is None else f"{tensor.dtype} of {tuple(tensor.shape)}"
        raise _FrameError(f"frame {place} of the iterator must be uint8 (height, width, 3) in RGB, not {found}")
    return tensor


def _sentence(error: Exception) -> str:
    """What FFmpeg says, without numbers and addresses."""
    text = re.sub(r"^\[Errno -?\d+\]\s*|:?\s*'[^']*'.*$", "", str(error)).strip() or type(error).__name__
    return "no frame arrived in time" if "Immediate exit" in text else text


__all__ = ["FileSource", "Grab", "IteratorSource", "LiveSource", "Source", "SourceLostError", "make_source"]

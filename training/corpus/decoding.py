"""Video decoding behind one small reader interface, and which frames of a video are sampled.

Readers: `decord` (default; Linux x86_64 only) and `opencv`. They give the same pixels for ordinary H.264 files. decord
reads true timestamps and key frames and skips quickly; OpenCV still opens truncated MP4 files that decord refuses.
"""

import importlib.util
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from training.errors import UserError
from training.registry import Registry


class DecodeError(Exception):
    """A video or frame that cannot be decoded. The message is one line, without paths or times of day."""


class VideoReader(Protocol):
    """One open video. Frames are addressed by native frame number; reading in ascending order is the quick way."""

    frame_count: int  # frames that the reader knows of
    fps: float  # average native frames per second
    note: str  # one line about anything unusual; "" normally

    def timestamps(self) -> np.ndarray:
        """Start of each frame in seconds from the first: float64 (frame_count,), ascending."""
        ...

    def keyframes(self) -> list[int]:
        """Frame numbers that decode on their own, ascending; empty when the reader cannot tell."""
        ...

    def read(self, index: int) -> np.ndarray:
        """The frame with this number, uint8 (H, W, 3) RGB. Raises `DecodeError`."""
        ...


READERS: Registry[type[VideoReader]] = Registry("video reader")


@READERS.register("decord")
class DecordReader:
    """Reader on decord. Opening scans the whole file for its packet times."""

    def __init__(self, path: Path, threads: int) -> None:
        import decord  # here, because it exists for Linux x86_64 only and OpenCV can take its place

        decord.logging.set_level(decord.logging.QUIET)
        self.note = ""
        try:
            self._video: Any = decord.VideoReader(str(path), num_threads=threads)
            self.frame_count = len(self._video)
            self.fps = float(self._video.get_avg_fps())
        except Exception as error:  # decord raises RuntimeError, DECORDError and others for a bad file
            raise DecodeError(_one_line("decord", error, path)) from error
        if self.frame_count and not (math.isfinite(self.fps) and self.fps > 0):
            raise DecodeError(f"decord: the file states {self.fps} frames per second")

    def timestamps(self) -> np.ndarray:
        """See `VideoReader`. decord keeps 32-bit floats; times of a constant rate are restored to full precision."""
        if not self.frame_count:
            return np.zeros(0)
        starts = np.asarray(self._video.get_frame_timestamp(range(self.frame_count)), np.float64)[:, 0]
        starts = np.maximum.accumulate(starts - starts[0])
        constant = np.arange(self.frame_count) / self.fps
        return constant if np.abs(starts - constant).max() < 0.1 / self.fps else starts

    def keyframes(self) -> list[int]:
        """See `VideoReader`."""
        return [int(index) for index in self._video.get_key_indices()]

    def read(self, index: int) -> np.ndarray:
        """See `VideoReader`."""
        try:
            return self._video[index].asnumpy()
        except Exception as error:  # DECORDError has no common base with decord's other errors
            raise DecodeError(_one_line("decord", error)) from error


@READERS.register("opencv")
class OpenCVReader:
    """Reader on OpenCV's FFmpeg. Scans forward only; times assume the constant rate that the file states."""

    def __init__(self, path: Path, threads: int) -> None:
        self.note = ""
        self._path = path
        self._threads = threads
        self._capture = self._open()
        self._next = 0
        stated = header(self._capture)
        if stated is None:
            raise DecodeError("opencv: the file states no frame rate or no frames")
        self.frame_count, self.fps = stated

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, self._threads])
        if not capture.isOpened():
            raise DecodeError("opencv: cannot open the file as a video")
        return capture

    def timestamps(self) -> np.ndarray:
        """See `VideoReader`."""
        return np.arange(self.frame_count) / self.fps

    def keyframes(self) -> list[int]:
        """See `VideoReader`; OpenCV does not tell."""
        return []

    def read(self, index: int) -> np.ndarray:
        """See `VideoReader`."""
        if index < self._next:
            self._capture, self._next = self._open(), 0
        while self._next <= index:
            if not self._capture.grab():
                raise DecodeError(f"opencv: no frame after frame {self._next - 1}")
            self._next += 1
        found, frame = self._capture.retrieve()
        if not found:
            raise DecodeError(f"opencv: frame {index} cannot be decoded")
        return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


@dataclass(frozen=True)
class VideoFacts:
    """What opening a video tells."""

    frame_count: int  # frames that can be addressed
    fps: float  # average native rate
    timestamps: np.ndarray  # float64 (frame_count,) seconds from the first frame
    keyframes: list[int]
    stated_seconds: float  # length that the container states; more than the timestamps cover when it is truncated
    note: str  # "" or why another reader had to be used


def check_reader(name: str) -> None:
    """Raise `UserError` when the reader does not exist or its library is not installed."""
    READERS.get(name)
    if name == "decord" and importlib.util.find_spec("decord") is None:
        raise UserError(
            "decord is needed to read videos and is not installed: `pip install decord` (Linux x86_64), or set "
            "decoding.reader=opencv"
        )


def open_video(path: Path, reader: str, threads: int) -> VideoReader:
    """Open with the named reader; a file that it refuses is tried with OpenCV, and the reader's `note` says so.

    Raises:
        DecodeError: no reader can open it, or it opens and yields no frame.
    """
    try:
        return READERS.get(reader)(path, threads)  # type: ignore[call-arg]
    except DecodeError as refused:
        if reader == "opencv":
            raise
        try:
            rescue = OpenCVReader(path, threads)
            rescue.read(0)
        except DecodeError:
            raise refused from None
        rescue.note = f"{refused}; read with opencv instead"
        return rescue


def facts_of(video: VideoReader, path: Path) -> VideoFacts:
    """Everything that sampling needs to know about an open video."""
    times = video.timestamps()
    covered = float(times[-1]) + 1 / video.fps if len(times) else 0.0
    stated = header(cv2.VideoCapture(str(path), cv2.CAP_FFMPEG))
    # A container that states a rate unlike the one of its packets states its length wrongly too.
    trusted = stated is not None and abs(stated[1] - video.fps) < 0.05 * video.fps
    length = stated[0] / stated[1] if stated is not None and trusted else covered
    return VideoFacts(video.frame_count, video.fps, times, video.keyframes(), max(length, covered), video.note)


def header(capture: cv2.VideoCapture) -> tuple[int, float] | None:
    """Number of frames and frames per second that the container states; `None` when it states none."""
    count, fps = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
    if not (math.isfinite(count) and math.isfinite(fps)) or count < 1 or not 0 < fps <= 1000:
        return None
    return int(count), float(fps)


def sample_indices(timestamps: np.ndarray, fps: float) -> np.ndarray:
    """Native frame numbers nearest to the times 0, 1/fps, 2/fps, ...: int64 (M,), ascending, each at most once.

    Args:
        timestamps: float64 (N,) seconds, ascending from 0.
        fps: wanted samples per second; at or above the native rate every frame is taken.
    """
    if not len(timestamps):
        return np.zeros(0, np.int64)
    targets = np.arange(math.floor(float(timestamps[-1]) * fps + 1e-6) + 1) / fps
    right = np.searchsorted(timestamps, targets).clip(1, max(len(timestamps) - 1, 1))
    left = right - 1
    right = right.clip(max=len(timestamps) - 1)
    nearer_left = targets - timestamps[left] <= timestamps[right] - targets
    return np.unique(np.where(nearer_left, left, right)).astype(np.int64)


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


def _one_line(reader: str, error: Exception, path: Path | None = None) -> str:
    """The sentence in a decoder's message: no stack, no source location, no time of day, no path."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    if path is not None:
        text = text.replace(str(path), "the file")
    text = re.sub(r"\[\d\d:\d\d:\d\d\]\s*", "", text)
    text = re.sub(r"/\S+\.(?:cc|h|cpp):\d+:\s*", "", text)
    text = re.sub(r"(Error reading|ERROR opening:?) .*?(\.\.\.|,|$)", r"\1 the file", text)
    return f"{reader}: {text.strip()[:200]}"

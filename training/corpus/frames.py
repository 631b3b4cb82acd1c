"""Sampled frames of one unit in time order, from a video or from stills, behind one interface."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from training.corpus.decoder_process import DecoderProcess, Lost
from training.corpus.decoding import DecodeError, Sampling, choose_frames, lost_tail
from training.corpus.settings import CurationSettings
from training.corpus.sources import SourceFile, Unit

FEW_KEYFRAMES = 6  # below this the key frames of a video do not show what is in it
FEW_FRAMES = 8  # frames looked at instead; each costs decoding up to it
HELD_FRAMES = 12  # a video of so few samples is decoded once and held; 75 MB at 1080p
# File extension for OpenCV, and its flag for the quality.
IMAGE_FORMATS = {"jpeg": (".jpg", cv2.IMWRITE_JPEG_QUALITY), "webp": (".webp", cv2.IMWRITE_WEBP_QUALITY)}


@dataclass(frozen=True)
class Sample:
    """One frame that curation wants."""

    file: SourceFile
    frame_index: int  # native frame number; of a still the number in its name, or 0
    timestamp: float  # seconds from the first frame
    follows: bool  # whether the sample before it may belong to the same clip


@dataclass(frozen=True)
class Missing:
    """Why a sample yielded no frame."""

    reason: str
    detail: str


@dataclass(frozen=True)
class LostSpan:
    """Sampling times for which the container promises frames that the file does not hold."""

    t_start: float
    t_end: float
    num_frames: int
    detail: str


class UnusableSourceError(Exception):
    """A whole file that yields no frame: `reason` for drops.parquet, and the message as detail."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class FrameStream(Protocol):
    """The sampled frames of one unit."""

    samples: list[Sample]
    fps: float | None  # samples per second; `None` when only the times of the stills themselves tell
    lost: LostSpan | None
    sampling: Sampling | None  # of a video
    deinterlaced: bool

    def peek(self, count: int) -> list[np.ndarray]:
        """Up to about `count` frames of every frame size, spread over the unit: uint8 (H, W, 3) RGB."""
        ...

    def frames(self) -> Iterator[np.ndarray | Missing]:
        """One answer per sample, in order: uint8 (H, W, 3) RGB, or why there is none."""
        ...


class VideoFrames:
    """Frames of a video file at `settings.fps`.

    Raises:
        UnusableSourceError: empty, undecodable, or without any frame.
    """

    def __init__(self, file: SourceFile, settings: CurationSettings, decoder: DecoderProcess) -> None:
        if file.size == 0:
            raise UnusableSourceError("empty_file", "0 bytes")
        self._decoder = decoder
        self._held: list[np.ndarray | Lost] = []
        try:
            self._facts = decoder.open(file.location)
            sampling = choose_frames(self._facts, settings.fps, settings.decoding.mode)
        except DecodeError as error:
            raise UnusableSourceError("undecodable", str(error)) from error
        self.sampling: Sampling | None = sampling
        self.deinterlaced = self._facts.deinterlaced
        indices = sampling.indices
        if not len(indices):
            raise UnusableSourceError("no_frames", "the video opens but holds no frame")
        times = self._facts.timestamps[indices]
        first, end = file.labels.part or (0.0, math.inf)
        inside = (times >= first) & (times < end)
        if not inside.any():
            last = f"its last sampled frame is at {times[-1]:.1f} s"
            raise UnusableSourceError("no_frames", f"the wanted part holds no sampled frame: {last}")
        indices, times = indices[inside], times[inside]
        gap = max(settings.max_gap_seconds, 1.5 / settings.fps)
        follows = [False, *(np.diff(times) <= gap).tolist()]
        self.samples = [
            Sample(file, int(index), float(time), after)
            for index, time, after in zip(indices, times, follows, strict=True)
        ]
        self.fps: float | None = min(settings.fps, self._facts.fps)
        if settings.decoding.mode == "keyframes" and len(times) > 1:
            self.fps = min(self.fps, round((len(times) - 1) / float(times[-1] - times[0]), 6))
        tail = lost_tail(self._facts, settings.fps, end)
        promise = f"the container states {self._facts.stated_seconds:.1f} s"
        self.lost = LostSpan(*tail, f"{promise}, the file holds less") if tail else None

    def peek(self, count: int) -> list[np.ndarray]:
        """Key frames when there are enough of them, because they are quick to reach; else a few samples.

        A short video is read completely here, and `frames` then gives what was read.
        """
        if len(self.samples) <= HELD_FRAMES:
            self._held = list(self._decoder.read(self._wanted()))
            return [frame for frame in self._held if not isinstance(frame, Lost)]
        wanted = self._wanted()
        keyframes = self._facts.keyframes
        if self.samples[0].file.labels.part:
            keyframes = [index for index in keyframes if wanted[0] <= index <= wanted[-1]]
        indices = _spread(keyframes, count)
        if len(indices) < FEW_KEYFRAMES:
            indices = _spread(wanted, min(count, FEW_FRAMES))
        return [frame for frame in self._decoder.read(indices) if not isinstance(frame, Lost)]

    def frames(self) -> Iterator[np.ndarray | Missing]:
        """See `FrameStream`. Samples that cannot be decoded up to the end are "truncated", others "damaged"."""
        pending: list[Lost] = []
        for answer in self._held or self._decoder.read(self._wanted()):
            if isinstance(answer, Lost):
                pending.append(answer)
                continue
            for lost in pending:
                yield Missing("damaged", self._explain(lost))
            pending = []
            yield answer
        for lost in pending:
            yield Missing("truncated", self._explain(lost))

    def _wanted(self) -> list[int]:
        return [sample.frame_index for sample in self.samples]

    def _explain(self, lost: Lost) -> str:
        return "; ".join(text for text in (self._facts.note, lost.detail) if text)


class StillFrames:
    """The stills of one unit: all of them, because whoever extracted them has sampled already.

    Times are frame number / native rate (their label `fps`, else `settings.still_fps`) for numbered sequences, and 0
    for stills without a sequence.
    """

    def __init__(self, unit: Unit, settings: CurationSettings) -> None:
        self.fps: float | None = None
        self.lost: LostSpan | None = None
        self.sampling: Sampling | None = None
        self.deinterlaced = False
        self.samples: list[Sample] = []
        before: SourceFile | None = None
        for file in unit.files:
            time = (file.number or 0) / (file.labels.fps or settings.still_fps) if unit.sequence else 0.0
            after = False
            if unit.sequence and before is not None and before.prefix == file.prefix:
                after = time - self.samples[-1].timestamp <= settings.max_gap_seconds
            self.samples.append(Sample(file, file.number or 0, time, after))
            before = file

    def peek(self, count: int) -> list[np.ndarray]:
        """Stills of each size, spread over the unit; unreadable ones are passed over."""
        by_size: dict[tuple[int, int], list[Path]] = {}
        for sample in self.samples:
            try:
                with Image.open(sample.file.location) as image:
                    by_size.setdefault(image.size, []).append(sample.file.location)
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
                continue  # it gets its drop row when its turn comes in `frames`
        chosen = [path for paths in by_size.values() for path in _spread(paths, count)]
        return [frame for frame in map(read_still, chosen) if not isinstance(frame, Missing)]

    def frames(self) -> Iterator[np.ndarray | Missing]:
        """See `FrameStream`."""
        for sample in self.samples:
            yield read_still(sample.file.location)


def open_frames(unit: Unit, settings: CurationSettings, decoder: DecoderProcess) -> FrameStream:
    """The stream of a unit. Raises `UnusableSourceError` for a video without frames."""
    if unit.kind == "video":
        return VideoFrames(unit.files[0], settings, decoder)
    return StillFrames(unit, settings)


def read_still(path: Path) -> np.ndarray | Missing:
    """Decode an image to uint8 (H, W, 3) RGB, upright as its EXIF says, or tell why that is impossible."""
    try:
        if path.stat().st_size == 0:
            return Missing("empty_file", "0 bytes")
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                detail = f"one channel of more than 8 bits (mode {image.mode}): a depth or label map, not a picture"
                return Missing("not_a_picture", detail)
            upright = ImageOps.exif_transpose(image)
            return np.asarray(upright.convert("RGB"))
    except UnidentifiedImageError:
        return Missing("undecodable", "not an image that Pillow knows")
    except PermissionError as error:
        return Missing("unreadable", error.strerror or str(error))
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or str(error)  # the system's own reason, without the name
        text = reason.replace(str(path), "the file").splitlines()
        return Missing("undecodable", f"pillow: {text[0][:200] if text else 'broken image'}")


def encode_image(frame: np.ndarray, image_format: str, quality: int) -> bytes:
    """A uint8 (H, W, 3) RGB frame as "jpeg" or "webp" of quality 1 to 100, without any metadata."""
    extension, flag = IMAGE_FORMATS[image_format]
    done, data = cv2.imencode(extension, cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [flag, quality])
    if not done:
        raise ValueError(f"OpenCV cannot encode a frame of shape {frame.shape}")
    return data.tobytes()


def fit_short_side(frame: np.ndarray, short_side: int) -> np.ndarray:
    """Shrink (never enlarge) a uint8 (H, W, 3) frame so that its short side is at most `short_side` pixels."""
    height, width = frame.shape[:2]
    scale = short_side / min(height, width)
    if scale >= 1:
        return frame
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes. Raises `OSError` when it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _spread(items: Sequence, count: int) -> list:
    """At most `count` of the items, evenly spread, first and last included."""
    if len(items) <= count:
        return list(items)
    return [items[int(position)] for position in np.linspace(0, len(items) - 1, count).round()]

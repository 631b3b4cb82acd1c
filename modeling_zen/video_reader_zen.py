"""What reading a video means: frames by number or in turn, in bounded memory, and which frames to sample.

Frame numbers count the frames in the order in which they are shown, from 0; times are seconds from the first frame, as
the container states them.
"""

import itertools
import math
import operator
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch

CHUNK = 16  # frames held at once by default: 100 MB of 1920 x 1080; larger ones are slower to allocate
# A frame rate asked for may lie above the file's by this factor: files state 29.97 for 30, 24.999 for 25.
_RATE_TOLERANCE = 1.01


def sample_indices(
    num_frames_in_file: int,
    fps_of_file: float | None,
    *,
    fps: float | None = None,
    num_frames: int | None = None,
    stride: int | None = None,
    timestamps: torch.Tensor | None = None,
) -> list[int]:
    """Numbers of the frames to read, ascending, each once; all of them when nothing else is asked for.

    Args:
        num_frames_in_file: Frames that there are.
        fps_of_file: Their rate, frames per second; only `fps` needs it.
        fps: Frames per second to take: see `nearest_frames`.
        num_frames: Frames to take in all, spread evenly: frame number ⌊i · num_frames_in_file / num_frames⌋ for
            i = 0, 1, ..., as transformers does.
        stride: Every stride-th frame, from the first.
        timestamps: When the frames are shown, as `VideoReader.timestamps` says; only `fps` looks at them. `None`: they
            are evenly spaced.

    Raises:
        ValueError: More than one of the three; no frames; a rate above the file's; more frames than there are (repeated
            ones would look like a camera that stands still to whatever reads time or motion); a number below 1.
    """
    asked = {"fps": fps, "num_frames": num_frames, "stride": stride}
    given = {name: value for name, value in asked.items() if value is not None}
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} are given; at most one of fps, num_frames and stride is wanted")
    if num_frames_in_file < 1:
        raise ValueError("the video has no frames")
    for name in ("num_frames", "stride"):
        value = asked[name]
        if value is not None and (not float(value).is_integer() or value < 1):
            raise ValueError(f"{name} must be an integer of at least 1, got {value}")
    if num_frames is not None:
        if num_frames > num_frames_in_file:
            raise ValueError(f"num_frames={num_frames} is more than the {num_frames_in_file} frames of the video")
        return [index * num_frames_in_file // int(num_frames) for index in range(int(num_frames))]
    if fps is not None:
        return _at_rate(num_frames_in_file, fps_of_file, fps, timestamps)
    return list(range(0, num_frames_in_file, int(stride or 1)))


def _at_rate(count: int, native: float | None, fps: float, timestamps: torch.Tensor | None) -> list[int]:
    if native is None or not native > 0:
        raise ValueError(f"fps={fps:g} needs the frame rate of the video, which is unknown; give num_frames or stride")
    if not 0 < fps < math.inf:
        raise ValueError(f"fps must be above 0, got {fps}")
    if fps > native * _RATE_TOLERANCE:
        raise ValueError(f"fps={fps:g} is above the {native:g} frames per second of the video")
    if fps >= native:
        return list(range(count))
    if timestamps is None:
        timestamps = torch.arange(count, dtype=torch.float64) / native
    return list(dict.fromkeys(nearest_frames(timestamps, fps)))


def nearest_frames(timestamps: torch.Tensor, fps: float) -> list[int]:
    """The frame nearest to each of the times 0, 1/fps, 2/fps, ..., the earlier one of two equally near.

    Args:
        timestamps: float64 (n,), seconds, ascending from 0.
        fps: Times per second.

    Returns:
        A frame number per time up to the last frame, ascending; some repeated where frames are further apart.
    """
    if not len(timestamps):
        return []
    times = torch.arange(math.floor(float(timestamps[-1]) * fps + 1e-6) + 1, dtype=torch.float64) / fps
    later = torch.searchsorted(timestamps, times).clamp(max=len(timestamps) - 1)
    earlier = (later - 1).clamp(min=0)
    # Equally near within a microsecond: times are not exact in floating point.
    is_earlier = times - timestamps[earlier] <= timestamps[later] - times + 1e-6
    return torch.where(is_earlier, earlier, later).tolist()


class FrameChunk(NamedTuple):
    """Some frames of a video, in order."""

    numbers: list[int]  # n frame numbers, from 0
    timestamps: list[float]  # n times, seconds from the first frame
    pixels: torch.Tensor  # uint8 (n, height, width, 3), RGB


class VideoReader(ABC):
    """One open video; close it, or use it as a context manager. Iterating gives `FrameChunk`s of the whole video."""

    backend: str  # name of the decoder
    source: str  # path or URL
    fps: float  # average frames per second; 25 where the source states none
    height: int  # pixels of a frame as it is shown, that is after rotation
    width: int
    note: str = ""  # why another backend than the first one was taken; "" normally

    @property
    @abstractmethod
    def num_frames(self) -> int | None:
        """Frames of the video; `None` for a live source. May have to scan the file once (without decoding)."""

    @property
    def duration(self) -> float | None:
        """Seconds that the frames cover, `num_frames / fps`; `None` for a live source."""
        return None if self.num_frames is None else self.num_frames / self.fps

    @property
    def stated_duration(self) -> float | None:
        """Seconds that the container states, more than `duration` where the end is missing; `None`: it is not known."""
        return None

    def timestamps(self) -> torch.Tensor:
        """When each frame is shown: float64 (num_frames,), seconds from the first, ascending. Not for live sources.

        The default is for sources without times of their own: frames evenly spaced at `fps`.
        """
        return torch.arange(self.num_frames or 0, dtype=torch.float64) / self.fps

    def keyframes(self) -> list[int]:
        """Numbers of the frames that decode on their own, ascending; empty where that is not known."""
        return []

    def read(self, indices: Sequence[int]) -> torch.Tensor:
        """The frames of these numbers, in any order, also repeated: uint8 (n, height, width, 3), RGB.

        Raises:
            TypeError: A number that is no integer.
            ValueError: A number that is no frame of the video, or a frame that cannot be decoded.
        """
        wanted = [operator.index(index) for index in indices]
        self._check(wanted)
        places: dict[int, list[int]] = {}
        for place, number in enumerate(wanted):
            places.setdefault(number, []).append(place)
        frames = torch.empty((len(wanted), self.height, self.width, 3), dtype=torch.uint8)
        for chunk in self._decode(iter(sorted(places)), CHUNK):
            for number, pixels in zip(chunk.numbers, chunk.pixels, strict=True):
                frames[places.pop(number)] = pixels
        if places:
            raise ValueError(f"video {self.source!r} ends before frame {min(places)}, which was asked for")
        return frames

    def frames(
        self, indices: Iterable[int] | None = None, *, step: int = 1, chunk: int = CHUNK
    ) -> Iterator[FrameChunk]:
        """Frames in turn, at most `chunk` in memory at once, whatever the length of the video.

        Args:
            indices: Ascending frame numbers; `None` is every `step`-th frame to the end.
            step: 1 is every frame. Not read when there are `indices`.
            chunk: Frames per yield; the last one may have fewer.

        Raises:
            TypeError: A number that is no integer.
            ValueError: Numbers that do not ascend or are no frames; `step` or `chunk` below 1; damage in the file (what
                lies before the damage has been yielded by then).
        """
        if step < 1 or chunk < 1:
            raise ValueError(f"step and chunk must be at least 1, got {step} and {chunk}")
        if indices is None:
            yield from self._decode(self._all(step), chunk)
            return
        wanted = [operator.index(index) for index in indices]
        self._check(wanted)
        if any(later <= earlier for earlier, later in itertools.pairwise(wanted)):
            raise ValueError("frame numbers must ascend; use read() for another order")
        yield from self._decode(iter(wanted), chunk)

    def __iter__(self) -> Iterator[FrameChunk]:
        return self.frames()

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the source. The default lets go of it with the object."""
        return None

    def _all(self, step: int) -> Iterator[int]:
        count = self.num_frames
        return itertools.count(0, step) if count is None else iter(range(0, count, step))

    def _check(self, numbers: list[int]) -> None:
        count = self.num_frames
        for number in numbers:
            if number < 0 or (count is not None and number >= count):
                raise ValueError(f"video {self.source!r} has {count} frames; frame {number} was asked for")

    @abstractmethod
    def _decode(self, numbers: Iterator[int], chunk: int) -> Iterator[FrameChunk]:
        """Decode ascending frame numbers; ends quietly where the source ends."""


class RefusedError(Exception):
    """A backend cannot read the source; the message says why, without the path."""


def damaged(reader: VideoReader, number: int, error: Exception) -> ValueError:
    """The error for a frame that cannot be decoded."""
    reason = f"{reader.backend} cannot decode frame {number} ({reason_of(error)})"
    return ValueError(f"video {reader.source!r} is damaged: {reason}")


def stated_rate(stated: Any) -> float:
    """Frames per second as a container states them; FFmpeg's own assumption where it states none."""
    rate = float(stated or 0)
    return rate if 0 < rate < math.inf else 25.0


def reason_of(error: Exception) -> str:
    """The sentence in a decoder's message: no stack, no source location, no time of day, no path."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    if "cannot find video stream" in text:
        return "the file has no video stream"
    text = re.sub(r"^\[\d\d:\d\d:\d\d\]\s*|/\S+\.(?:cc|h|cpp):\d+:\s*|\[Errno -?\d+\]\s*", "", text)
    text = re.sub(r"^\[[^\]]*\]\s*|^\w+, /\S+\.cpp:\d+, ", "", text)
    text = re.sub(r"(Error reading|ERROR opening:?) .*?(\.\.\.|,|$)", r"\1 the file", text)
    return re.sub(r":?\s*'[^']*'$", "", text).split(". ")[0].strip().rstrip(".")[:200]


__all__ = [
    "CHUNK",
    "FrameChunk",
    "RefusedError",
    "VideoReader",
    "damaged",
    "nearest_frames",
    "reason_of",
    "sample_indices",
    "stated_rate",
]

"""What reading a video means: frames by number or in turn, in bounded memory.

Frame numbers count the frames in the order in which they are shown, from 0; times are seconds from the first frame, as
the container states them.
"""

import itertools
import math
import operator
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import torch  # imported where tensors are made: who reads arrays does not wait for it

CHUNK = 16  # frames held at once by default: 100 MB of 1920 x 1080; larger ones are slower to allocate


class FrameChunk(NamedTuple):
    """Some frames of a video, in order."""

    numbers: list[int]  # n frame numbers, from 0
    timestamps: list[float]  # n times, seconds from the first frame
    pixels: "torch.Tensor"  # uint8 (n, height, width, 3), RGB


class VideoReader(ABC):
    """One open video; close it, or use it as a context manager. Iterating gives `FrameChunk`s of the whole video."""

    backend: str  # name of the decoder
    source: str  # path or URL
    fps: float  # average frames per second; 25 where the source states none
    height: int  # pixels of a frame as it is shown, that is after rotation
    width: int
    note: str = ""  # why another backend than the first one was taken; "" normally
    is_interlaced: bool = False  # whether frames are known to consist of two fields, one later than the other

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

    def timestamps(self) -> np.ndarray:
        """When each frame is shown: float64 (num_frames,), seconds from the first, ascending. Not for live sources.

        The default is for sources without times of their own: frames evenly spaced at `fps`.
        """
        return np.arange(self.num_frames or 0) / self.fps

    def keyframes(self) -> list[int]:
        """Numbers of the frames that decode on their own, ascending; empty where that is not known."""
        return []

    def read(self, indices: Sequence[int]) -> "torch.Tensor":
        """The frames of these numbers, in any order, also repeated: uint8 (n, height, width, 3), RGB.

        Raises:
            TypeError: A number that is no integer.
            ValueError: A number that is no frame of the video, or a frame that cannot be decoded.
        """
        import torch

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
        yield from self._decode(self._ascending(indices), chunk)

    def arrays(self, indices: Iterable[int]) -> Iterator[np.ndarray]:
        """The frames of these numbers one by one, each uint8 (height, width, 3), RGB.

        Args:
            indices: Ascending frame numbers.

        Raises:
            TypeError: A number that is no integer.
            ValueError: See `frames`.
        """
        for chunk in self.frames(indices, chunk=1):
            yield chunk.pixels[0].numpy()

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

    def _ascending(self, indices: Iterable[int]) -> Iterator[int]:
        wanted = [operator.index(index) for index in indices]
        self._check(wanted)
        if any(later <= earlier for earlier, later in itertools.pairwise(wanted)):
            raise ValueError("frame numbers must ascend; use read() for another order")
        return iter(wanted)

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
    reason = f"{reader.backend} cannot decode frame {number} ({reason_of(error, reader.source)})"
    return ValueError(f"video {reader.source!r} is damaged: {reason}")


def stated_rate(stated: Any) -> float:
    """Frames per second as a container states them; FFmpeg's own assumption where it states none."""
    rate = float(stated or 0)
    return rate if 0 < rate < math.inf else 25.0


def reason_of(error: Exception, source: str) -> str:
    """The sentence in a decoder's message: no stack, no source location, no time of day, no path.

    Args:
        error: What the decoder raised.
        source: Path or URL that it read.
    """
    text = str(error)
    if not source.isalnum():  # such a name might be a word of the message, and the patterns below find it
        # First of all, because a name may hold commas, quotes and line breaks like the message around it.
        for name in (repr(source), source, repr(source)[1:-1]):
            text = text.replace(name, "the file")
    text = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    if "cannot find video stream" in text:
        return "the file has no video stream"
    text = re.sub(r"^\[\d\d:\d\d:\d\d\]\s*|/\S+\.(?:cc|h|cpp):\d+:\s*|\[Errno -?\d+\]\s*", "", text)
    text = re.sub(r"^\[[^\]]*\]\s*|^\w+, /\S+\.cpp:\d+, ", "", text)
    text = re.sub(r"(Error reading|ERROR opening:?) .*?(\.\.\.|,|$)", r"\1 the file", text)
    return re.sub(r":?\s*'[^']*'$|:\s*the file$", "", text).split(". ")[0].strip().rstrip(".")[:200]


__all__ = [
    "CHUNK",
    "FrameChunk",
    "RefusedError",
    "VideoReader",
    "damaged",
    "reason_of",
    "stated_rate",
]

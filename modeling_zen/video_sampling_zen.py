"""Which frames of a video to sample."""

import math
from typing import Any

import numpy as np

# A frame rate asked for may lie above the file's by this factor: files state 29.97 for 30, 24.999 for 25.
_RATE_TOLERANCE = 1.01


def sample_indices(
    num_frames_in_file: int,
    fps_of_file: float | None,
    *,
    fps: float | None = None,
    num_frames: int | None = None,
    stride: int | None = None,
    timestamps: Any = None,
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


def _at_rate(count: int, native: float | None, fps: float, timestamps: Any) -> list[int]:
    if native is None or not native > 0:
        raise ValueError(f"fps={fps:g} needs the frame rate of the video, which is unknown; give num_frames or stride")
    if not 0 < fps < math.inf:
        raise ValueError(f"fps must be above 0, got {fps}")
    if fps > native * _RATE_TOLERANCE:
        raise ValueError(f"fps={fps:g} is above the {native:g} frames per second of the video")
    if fps >= native:
        return list(range(count))
    if timestamps is None:
        timestamps = np.arange(count) / native
    return list(dict.fromkeys(nearest_frames(timestamps, fps)))


def nearest_frames(timestamps: Any, fps: float, last: float | None = None) -> list[int]:
    """The frame nearest to each of the times 0, 1/fps, 2/fps, ..., the earlier one of two equally near.

    Args:
        timestamps: float64 (n,), seconds, ascending; an array or a tensor.
        fps: Times per second.
        last: End of the times, seconds; `None` is the time of the last frame.

    Returns:
        A position in `timestamps` per time, ascending; some repeated where frames are further apart.
    """
    starts = np.asarray(timestamps, np.float64)
    if not len(starts):
        return []
    times = np.arange(math.floor((starts[-1] if last is None else last) * fps + 1e-6) + 1) / fps
    later = np.searchsorted(starts, times).clip(max=len(starts) - 1)
    earlier = (later - 1).clip(min=0)
    # Equally near within a microsecond: times are not exact in floating point.
    is_earlier = times - starts[earlier] <= starts[later] - times + 1e-6
    return np.where(is_earlier, earlier, later).tolist()


__all__ = ["nearest_frames", "sample_indices"]

"""A few frames to stand for a whole video that carries one label."""

from pathlib import Path

import numpy as np

from evaluation.datasets.dataset import FrameReference
from evaluation.datasets.recordings import Recording, open_video
from training.errors import UserError

COUNT = (
    32  # frames of a video: as published for the skill of JIGSAWS trials (Li et al., MICCAI 2022), which last minutes
)


def spread_frames(noun: str, path: Path, native_fps: float | None, count: int = COUNT) -> tuple[FrameReference, ...]:
    """The middle frame of each of `count` equal parts of a video, in order of time; nothing is decoded.

    Args:
        noun: name of the dataset, for messages.
        path: the video.
        native_fps: frames per second that it must have; `None` for any.
        count: of frames.

    Raises:
        UserError: what `open_video` refuses, a container that does not say how many frames it has, or fewer than
            `count` of them.
    """
    recording: Recording = open_video(noun, path, native_fps)
    if recording.length is None:
        raise UserError(
            f"{noun}: {str(path)!r} does not state how many frames it has; "
            f"rewrite its container, as `ffmpeg -i {path.name} -c copy {path.stem}.mp4` does"
        )
    if recording.length < count:
        raise UserError(f"{noun}: {str(path)!r} has {recording.length} frames; at least {count} are needed")
    middles = np.floor((np.arange(count) + 0.5) * recording.length / count).astype(np.int64)
    return tuple(FrameReference(path, int(frame)) for frame in middles)

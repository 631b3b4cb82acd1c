"""Recordings of workflow datasets: the video or folder of frames of a case, and which native frames it holds."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np

from evaluation.datasets.workflow import LabeledVideo, Side, at_rate
from training.errors import UserError

VIDEO_SUFFIX = r"\.(?:mp4|mov|m4v|mkv|avi)"
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
FPS_TOLERANCE = 0.01  # share by which a stated rate may differ: 24.98 or 25.03 of re-muxed files is still 25
SPARE_ROWS = 1  # label rows behind the end of a video: counting tools differ by one frame, a second row is a mismatch


@dataclass(frozen=True)
class Recording:
    """One case as it lies on disk.

    Attributes:
        path: a video file, or the folder of its frames.
        fps: native frames per second.
        length: native frames of a video; `None` where its container says nothing, and for images.
        images: image by native frame number (from 0, ascending); empty for a video file.
    """

    path: Path
    fps: float
    length: int | None = None
    images: Mapping[int, Path] = field(default_factory=dict)


def by_case(noun: str, folder: Path | Sequence[Path], pattern: str, case_of: Callable[[str], str]) -> dict[str, Path]:
    """Entries of a folder whose whole name matches a pattern, in any case of letters; none if there is no folder.

    Args:
        noun: name of the dataset, for messages.
        folder: to look in, or several.
        pattern: regular expression; its first group holds what tells the case.
        case_of: from that group to the case.

    Raises:
        UserError: two entries of one case.
    """
    found: dict[str, Path] = {}
    folders = [folder] if isinstance(folder, Path) else folder
    for path in (path for each in folders if each.is_dir() for path in sorted(each.iterdir())):
        match = re.fullmatch(pattern, path.name, re.IGNORECASE)
        if not match:
            continue
        case = case_of(match[1])
        if case in found:
            raise UserError(
                f"{noun}: {str(found[case])!r} and {str(path)!r} are both of case {case!r}; one of them is expected"
            )
        found[case] = path
    return found


def label_file(noun: str, case: str, files: Mapping[str, Path], expected: Path) -> Path:
    """The label file of a case; `UserError` with the `expected` path if there is none."""
    if case not in files:
        raise UserError(f"{noun}: case {case!r} of the split has no label file such as {str(expected)!r}")
    return files[case]


def open_recording(
    noun: str,
    case: str,
    videos: Mapping[str, Path],
    folders: Mapping[str, Path],
    expected: Path,
    native_fps: float,
    length: int,
) -> Recording:
    """The video of a case, or the folder of its frames where there is no video.

    Args:
        noun: name of the dataset, for messages.
        case: of the split.
        videos: video files by case.
        folders: folders of frames by case; see `open_images` for how their names are read.
        expected: where the video of this case would lie, for the message.
        native_fps: frames per second that labels count.
        length: native frames that are labeled, by which names of images are told apart.

    Raises:
        UserError: neither is there, or what is there does not fit.
    """
    if case in videos:
        return open_video(noun, videos[case], native_fps)
    if case not in folders:
        raise UserError(
            f"{noun}: case {case!r} of the split has neither a video such as {str(expected)!r} nor a folder of frames"
        )
    return Recording(folders[case], native_fps, images=open_images(noun, folders[case], length, native_fps))


def open_video(noun: str, path: Path, native_fps: float | None) -> Recording:
    """A video by its header; nothing is decoded.

    Args:
        noun: name of the dataset, for messages.
        path: the file.
        native_fps: frames per second that labels count; `None` takes what the file states.

    Raises:
        UserError: a file that is no video, or one of another rate: its frame numbers would not be those of the labels.
    """
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            stream = container.streams.video[0]
            stated, length = float(stream.average_rate or 0), stream.frames or None
    except (av.FFmpegError, IndexError) as error:
        raise UserError(f"{noun}: {str(path)!r} cannot be read as a video ({error})") from error
    if native_fps is None and not stated:
        raise UserError(f"{noun}: {str(path)!r} states no frame rate; labels by time cannot be laid on its frames")
    if native_fps and stated and abs(stated / native_fps - 1) > FPS_TOLERANCE:
        raise UserError(
            f"{noun}: {str(path)!r} runs at {stated:g} frames/s, its labels count {native_fps:g}; "
            "put the original video there"
        )
    return Recording(path, native_fps or stated, length)


def images_by_number(noun: str, folder: Path) -> dict[int, Path]:
    """Images of a folder by the digits that end their names, ascending.

    Raises:
        UserError: no images, a name without number, or two of one number.
    """
    images: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith("."):
            continue
        digits = re.search(r"\d+$", path.stem)
        if not digits:
            raise UserError(f"{noun}: image {str(path)!r} has no frame number at the end of its name")
        number = int(digits[0])
        if number in images:
            raise UserError(f"{noun}: images {str(images[number])!r} and {str(path)!r} have the same frame number")
        images[number] = path
    if not images:
        raise UserError(f"{noun}: folder {str(folder)!r} holds no images")
    return dict(sorted(images.items()))


def open_images(noun: str, folder: Path, length: int, native_fps: float) -> dict[int, Path]:
    """Images of a folder by native frame number, ascending; a name's last digits are its number.

    Extracted frames have no standard name, so their numbers are told apart by how many frames are labeled. Numbers
    without gaps from 0 or 1 count the images themselves, which are one a second where that gives their count, and
    spread evenly otherwise (image k of 25 fps taken at 1 fps is native frame 25 k); other numbers are native frame
    numbers and must reach to about the last labeled one. Images that ffmpeg's fps filter made show a time up to half an
    interval later than this says: it takes the last frame before the middle of the interval.

    Args:
        noun: name of the dataset, for messages.
        folder: of one case.
        length: native frames that are labeled.
        native_fps: frames per second that the labels count.

    Raises:
        UserError: what `images_by_number` refuses, or numbers that fit neither way.
    """
    images = images_by_number(noun, folder)
    numbers = np.array(list(images))
    if numbers[0] in (0, 1) and (np.diff(numbers) == 1).all():
        for stride in (round(native_fps), max(1, round(length / len(numbers)))):
            if abs(len(numbers) - -(-length // stride)) <= 1:
                return {int(number - numbers[0]) * stride: images[number] for number in numbers}
    elif len(numbers) > 1 and abs(length - 1 - numbers[-1]) < 2 * np.diff(numbers).max():
        return {int(number): images[number] for number in numbers}
    raise UserError(
        f"{noun}: {str(folder)!r} holds {len(numbers)} images numbered {numbers[0]} to {numbers[-1]}, which fit the "
        f"{length} labeled frames neither one by one, nor evenly spread, nor as native frame numbers"
    )


def labeled_video(
    noun: str,
    case: str,
    side: Side,
    recording: Recording,
    file: Path,
    frames: np.ndarray,
    labels: Mapping[str, np.ndarray],
    fps: float,
) -> LabeledVideo:
    """Labels laid on a recording and taken at a rate.

    Labeled frames without an image are left out, and so is one label row behind the end of a video, as it has no frame.

    Args:
        noun: name of the dataset, for messages.
        case: of the split.
        side: of the split.
        recording: of the case.
        file: label file, for messages.
        frames: int64 (N,), native frame numbers of the rows, ascending.
        labels: by name of the track, N rows each.
        fps: wanted.

    Raises:
        UserError: more label rows than the video has frames, or no labeled frame at all.
    """
    if recording.images:
        there = np.isin(frames, np.fromiter(recording.images, np.int64))
    else:
        there = np.ones(len(frames), bool) if recording.length is None else frames < recording.length
        if np.count_nonzero(~there) > SPARE_ROWS:
            first = int(np.flatnonzero(~there)[0])
            raise UserError(
                f"{noun}: row {first + 1} of {str(file)!r} is of frame {frames[first]}, "
                f"but {str(recording.path)!r} has {recording.length} frames"
            )
    kept = np.flatnonzero(there)
    kept = kept[at_rate(frames[kept], recording.fps, fps)]
    if not len(kept):
        raise UserError(f"{noun}: no frame of {str(recording.path)!r} is labeled in {str(file)!r}")
    return LabeledVideo(
        case_id=case,
        side=side,
        video=recording.path,
        fps=recording.fps,
        frames=frames[kept],
        labels={name: values[kept] for name, values in labels.items()},
        files=tuple(recording.images[int(number)] for number in frames[kept]) if recording.images else (),
    )

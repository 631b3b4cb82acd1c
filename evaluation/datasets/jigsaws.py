"""JIGSAWS: robotic suturing, knot tying and needle passing on a bench, eight users, with surgical gestures.

The folder, with one task or several::

    ROOT/
        Suturing/                                     or Knot_Tying, Needle_Passing
            video/Suturing_B001_capture1.avi          30 fps; capture 2 is the other eye and not read
            transcriptions/Suturing_B001.txt          START END G5: frames from 1, both included

Quirks: a case is a user in a task, as trials of a user look alike, and its trials are videos of it. Frames between
gestures and at the ends are not labeled and left out. A few trials have no transcription (Suturing_H002) and are not
read. Not every gesture occurs in each task. Skill is read by `jigsaws_skill.py`, kinematics by nothing.

Sides: leave one user out, `suturing_B` (default) to `suturing_I`, and the same for `knot_tying` and `needle_passing`,
where user G has no trials; there is no validation side. Means over all folds of a task are what the field reports.

Source: Gao et al., JIGSAWS (M2CAI 2014), for non-commercial research; layout as read by public loaders. It was not
checked against genuine files; that the last frame of a line is included is our reading.
"""

import re
from pathlib import Path

import numpy as np

from evaluation.datasets.dataset import find_below
from evaluation.datasets.recordings import (
    SPARE_ROWS,
    VIDEO_SUFFIX,
    Recording,
    by_case,
    labeled_video,
    open_video,
)
from evaluation.datasets.workflow import (
    WORKFLOW_DATASETS,
    LabeledVideo,
    Side,
    Split,
    Track,
    WorkflowDataset,
    WorkflowReader,
)
from training.errors import UserError

NAME = "jigsaws"
NATIVE_FPS = 30.0
TASKS = ("Suturing", "Knot_Tying", "Needle_Passing")
GESTURES = tuple(f"G{number}" for number in range(1, 16))
TRACKS = (Track("gesture", GESTURES),)

_LINE = re.compile(r"\s*(\d+)\s+(\d+)\s+(G\d+)\s*")


def find(root: Path) -> Path | None:
    """The JIGSAWS folder at `root` or up to two levels below; `None` if there is none."""
    return find_below(
        root, "JIGSAWS", lambda folder: any((folder / task / "transcriptions").is_dir() for task in TASKS)
    )


def scan(root: Path, split: Split, fps: float) -> WorkflowDataset:
    """Read labels and headers of videos.

    Raises:
        UserError: a user without transcriptions, a trial without video or with two, a line that is not understood or
            behind the end of its video.
    """
    videos: list[LabeledVideo] = []
    for case, side in split.cases:
        task, user = case.rsplit("_", 1)
        folder = root / task / "transcriptions"
        files = sorted(path for path in folder.glob(f"{case}*.txt") if re.fullmatch(rf"{case}\d+", path.stem))
        if not files:
            expected = folder / f"{case}001.txt"
            raise UserError(f"{NAME}: user {user!r} of the split has no transcription such as {str(expected)!r}")
        recorded = by_case(NAME, root / task / "video", rf"({task}_[A-Z]\d+)_capture1{VIDEO_SUFFIX}", str)
        for file in files:
            if file.stem not in recorded:
                expected = root / task / "video" / f"{file.stem}_capture1.avi"
                raise UserError(f"{NAME}: {str(file)!r} has no video such as {str(expected)!r}")
            videos.append(_read(case, side, file, recorded[file.stem], fps))
    return WorkflowDataset(NAME, root, TRACKS, tuple(videos), split.name, split.source)


def _read(case: str, side: Side, file: Path, video: Path, fps: float) -> LabeledVideo:
    recording = open_video(NAME, video, NATIVE_FPS)
    frames, gesture = _read_gestures(file, recording)
    return labeled_video(NAME, case, side, recording, file, frames, {"gesture": gesture}, fps)


def _read_gestures(file: Path, recording: Recording) -> tuple[np.ndarray, np.ndarray]:
    """Frames from 0 and gestures, int64 (N,), of all labeled frames."""
    frames: list[np.ndarray] = []
    gestures: list[np.ndarray] = []
    last = 0
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line)
        if not match or match[3] not in GESTURES:
            raise UserError(
                f"{NAME}: line {number} of {str(file)!r} is {line!r}, not first frame, last frame and gesture G1 to G15"
            )
        start, end = int(match[1]), int(match[2])
        if not last < start <= end:
            raise UserError(
                f"{NAME}: line {number} of {str(file)!r} goes from frame {start} to {end}, after frame {last}"
            )
        if recording.length is not None and end > recording.length + SPARE_ROWS:
            raise UserError(
                f"{NAME}: line {number} of {str(file)!r} ends at frame {end}, "
                f"but {str(recording.path)!r} has {recording.length} frames"
            )
        frames.append(np.arange(start - 1, end))
        gestures.append(np.full(end - start + 1, GESTURES.index(match[3]), np.int64))
        last = end
    if not frames:
        raise UserError(f"{NAME}: {str(file)!r} has no lines")
    return np.concatenate(frames), np.concatenate(gestures)


WORKFLOW_DATASETS.register(NAME)(
    WorkflowReader(
        name=NAME,
        licence="for non-commercial research",
        obtain="https://cirl.lcsr.jhu.edu/research/hmm/datasets/jigsaws_release (request form)",
        tracks=tuple(track.name for track in TRACKS),
        find=find,
        scan=scan,
    )
)

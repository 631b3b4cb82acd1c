"""AutoLaparo, task 1: 21 videos of laparoscopic hysterectomy with surgical phases.

The folder::

    ROOT/
        Task 1 Surgical workflow recognition/         also shortened: task1, Task_1 ...; or its content right in ROOT
            videos/01.mp4 ... 21.mp4                  1920 x 1080, 25 fps
            labels/label_01.txt                       Frame<TAB>Phase at 1 fps: Frame 1, 2, ..., Phase 1..7
            frames/01/0001.jpg ...                    instead of videos: every 25th frame, see `open_images`

Quirks: frames count from 1, so Frame n is native frame 25 (n - 1). Some copies hold labels shifted to 0..6 already:
which it is is decided over all label files that are there, never by video, as not every video has every phase. The text
of the folder's name was not verified, so everything that begins with "Task 1" in any spelling is taken.

Sides: the official split by number of video. Results here are usually quoted strict, without relaxed transitions.

Source: Wang et al., AutoLaparo (MICCAI 2022), CC BY-NC-SA 4.0; layout as read by ziyiwangx/AutoLaparo. It was not
checked against the videos themselves.
"""

import re
from pathlib import Path

import numpy as np

from evaluation.datasets.dataset import find_below
from evaluation.datasets.label_tables import read_phases
from evaluation.datasets.recordings import VIDEO_SUFFIX, by_case, label_file, labeled_video, open_recording
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

NAME = "autolaparo"
NATIVE_FPS = 25.0
STRIDE = 25  # native frames per row: 1 fps
PHASES = (
    "Preparation",
    "Dividing Ligament and Peritoneum",
    "Dividing Uterine Vessels and Ligament",
    "Transecting the Vagina",
    "Specimen Removal",
    "Suturing",
    "Washing",
)
TRACKS = (Track("phase", PHASES),)

_LABELS = r"label_?0*(\d+)\.txt"
_TASK = re.compile(r"task[ _-]*1(?!\d).*", re.IGNORECASE)
_NUMBERS = {str(number): number for number in range(len(PHASES) + 1)}


def find(root: Path) -> Path | None:
    """The AutoLaparo folder at `root` or up to two levels below; `None` if there is none."""
    return find_below(root, "AutoLaparo", lambda folder: _task_folder(folder) is not None)


def scan(root: Path, split: Split, fps: float) -> WorkflowDataset:
    """Read labels and headers of videos.

    Raises:
        UserError: no folder of task 1, or two; a case without label file or recording, two files for one case, a row
            that is not understood, labels of which it cannot be told whether they count from 0 or 1, or that do not
            fit their video.
    """
    home = _task_folder(root)
    if home is None:
        raise UserError(f"{NAME}: {str(root)!r} has no folder 'Task 1 ...' with labels/label_01.txt in it")
    files = by_case(NAME, home / "labels", _LABELS, _case)
    videos = by_case(NAME, home / "videos", rf"0*(\d+){VIDEO_SUFFIX}", _case)
    folders = by_case(NAME, home / "frames", r"0*(\d+)", _case)
    tables = {case: read_phases(NAME, file, _NUMBERS) for case, file in files.items()}
    first = _first_phase(home / "labels", tables)

    def read(case: str, side: Side) -> LabeledVideo:
        file = label_file(NAME, case, files, home / "labels" / f"label_{case}.txt")
        rows, phase = tables[case]
        if rows[0] < 1:
            raise UserError(f"{NAME}: row 1 of {str(file)!r} is of Frame {rows[0]}; frames count from 1")
        frames = STRIDE * (rows - 1)
        expected = home / "videos" / f"{case}.mp4"
        recording = open_recording(NAME, case, videos, folders, expected, NATIVE_FPS, int(frames[-1]) + 1)
        return labeled_video(NAME, case, side, recording, file, frames, {"phase": phase - first}, fps)

    read_videos = tuple(read(case, side) for case, side in split.cases)
    return WorkflowDataset(NAME, root, TRACKS, read_videos, split.name, split.source)


def _task_folder(folder: Path) -> Path | None:
    """The folder of task 1: named so, or the one given if labels lie right in it."""
    named = [child for child in folder.iterdir() if _TASK.fullmatch(child.name) and _has_labels(child)]
    if len(named) > 1:
        one, other = sorted(map(str, named))[:2]
        raise UserError(f"{NAME}: {one!r} and {other!r} both look like task 1; one of them is expected")
    if named:
        return named[0]
    return folder if _has_labels(folder) else None


def _has_labels(folder: Path) -> bool:
    labels = folder / "labels"
    return labels.is_dir() and any(re.fullmatch(_LABELS, path.name, re.IGNORECASE) for path in labels.iterdir())


def _first_phase(folder: Path, tables: dict[str, tuple[np.ndarray, np.ndarray]]) -> int:
    """What the labels of all files call the first phase: 1, or 0 where they are shifted already."""
    present = {int(phase) for _, phases in tables.values() for phase in np.unique(phases)}
    if (0 in present) == (len(PHASES) in present):
        raise UserError(
            f"{NAME}: the labels in {str(folder)!r} are {', '.join(map(str, sorted(present)))}, of which it cannot be "
            "told whether they count from 1 to 7 or from 0 to 6; give all label files, as they were released"
        )
    return 0 if 0 in present else 1


def _case(number: str) -> str:
    return f"{int(number):02d}"


WORKFLOW_DATASETS.register(NAME)(
    WorkflowReader(
        name=NAME,
        licence="CC BY-NC-SA 4.0",
        obtain="https://autolaparo.github.io (request form)",
        tracks=tuple(track.name for track in TRACKS),
        find=find,
        scan=scan,
    )
)

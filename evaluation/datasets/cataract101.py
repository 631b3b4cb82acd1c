"""Cataract-101: 101 videos of cataract surgery with phases, of four surgeons.

The folder::

    ROOT/
        videos/case_269.mp4 ...          25 fps
        annotations.csv                  VideoID;FrameNo;Phase, the frame at which a phase starts, from 0
        videos.csv                       VideoID;Frames;FPS;Surgeon;Experience
        frames/case_269/...              instead of videos: extracted frames, see `open_images`

Quirks: a phase lasts until the next row of its video, the last one until the end. Nothing is said of the frames before
the first row, and they are left out. A phase can come back, and can start twice in a row. Ids 1 to 10 go by the
published list, so that `phases.csv` is not read.

Sides: there is no official split. `fold_1` (default) to `fold_5` are ours: cases in order of surgeon, then of number,
are dealt to five groups in turn, so that each has a fifth of every surgeon's; fold k tests on group k, validates on the
next and trains on the other three.

Source: Schoeffmann et al., Cataract-101 (MMSys 2018), CC BY-NC 4.0. Genuine tables were read, the videos were not.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from evaluation.datasets.dataset import find_below
from evaluation.datasets.recordings import VIDEO_SUFFIX, by_case, labeled_video, open_recording
from evaluation.datasets.workflow import (
    WORKFLOW_DATASETS,
    LabeledVideo,
    Side,
    Split,
    Track,
    WorkflowDataset,
    WorkflowReader,
    read_rows,
)
from training.errors import UserError

NAME = "cataract101"
PHASES = (
    "Incision",
    "ViscousAgentInjection",
    "Rhexis",
    "Hydrodissection",
    "Phacoemulsification",
    "IrrigationAndAspiration",
    "CapsulePolishing",
    "LensImplantSettingUp",
    "ViscousAgentRemoval",
    "TonifyingAndAntibiotics",
)
TRACKS = (Track("phase", PHASES),)

_SEPARATOR = ";"
_HEADER = "VideoID;FrameNo;Phase"


def find(root: Path) -> Path | None:
    """The Cataract-101 folder at `root` or up to two levels below; `None` if there is none."""
    return find_below(root, "Cataract-101", _is_home)


def scan(root: Path, split: Split, fps: float) -> WorkflowDataset:
    """Read labels and headers of videos.

    Raises:
        UserError: a missing file, a case without rows or recording, two files for one case, or a row that is not
            understood or behind the end of its video.
    """
    file = root / "annotations.csv"
    starts = _read_starts(file)
    sizes = _read_sizes(root / "videos.csv")
    videos = by_case(NAME, root / "videos", rf"case_0*(\d+){VIDEO_SUFFIX}", _case)
    folders = by_case(NAME, root / "frames", r"case_0*(\d+)", _case)

    def read(case: str, side: Side) -> LabeledVideo:
        for path, table in ((file, starts), (root / "videos.csv", sizes)):
            if case not in table:
                raise UserError(f"{NAME}: case {case!r} of the split has no row in {str(path)!r}")
        length, native_fps = sizes[case]
        recording = open_recording(NAME, case, videos, folders, root / "videos" / f"{case}.mp4", native_fps, length)
        frames, phase = _hold(file, case, starts[case], recording.length or length)
        return labeled_video(NAME, case, side, recording, file, frames, {"phase": phase}, fps)

    read_videos = tuple(read(case, side) for case, side in split.cases)
    return WorkflowDataset(NAME, root, TRACKS, read_videos, split.name, split.source)


def _is_home(folder: Path) -> bool:
    file = folder / "annotations.csv"
    if not file.is_file():
        return False
    with file.open(encoding="utf-8-sig", errors="replace") as stream:
        return stream.readline().strip() == _HEADER


def _case(number: str) -> str:
    return f"case_{int(number)}"


def _read_starts(file: Path) -> dict[str, dict[int, int]]:
    """Phase index by start frame, by case."""
    starts: dict[str, dict[int, int]] = {}
    for number, row in enumerate(read_rows(NAME, file, _HEADER.split(_SEPARATOR), _SEPARATOR), start=1):
        if not row["VideoID"].isdecimal() or not row["FrameNo"].isdecimal():
            raise UserError(f"{NAME}: row {number} of {str(file)!r} has a VideoID or FrameNo that is no whole number")
        if row["Phase"] not in map(str, range(1, len(PHASES) + 1)):
            raise UserError(
                f"{NAME}: row {number} of {str(file)!r} has the phase {row['Phase']!r}; known are 1 to {len(PHASES)}"
            )
        own, frame = starts.setdefault(_case(row["VideoID"]), {}), int(row["FrameNo"])
        if frame in own:
            raise UserError(f"{NAME}: row {number} of {str(file)!r} is the second one of that video and frame {frame}")
        own[frame] = int(row["Phase"]) - 1
    return starts


def _read_sizes(file: Path) -> dict[str, tuple[int, float]]:
    """Frames and frames per second by case."""
    sizes = {}
    for number, row in enumerate(read_rows(NAME, file, ["VideoID", "Frames", "FPS"], _SEPARATOR), start=1):
        try:
            sizes[_case(row["VideoID"])] = int(row["Frames"]), float(row["FPS"])
        except ValueError as error:
            raise UserError(
                f"{NAME}: row {number} of {str(file)!r} has a VideoID, Frames or FPS that is no number"
            ) from error
    return sizes


def _hold(file: Path, case: str, starts: Mapping[int, int], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames from the first start to the end of the video, and the phase that holds at each, int64 (N,)."""
    begins = np.array(sorted(starts), np.int64)
    if begins[-1] >= length:
        raise UserError(
            f"{NAME}: {str(file)!r} has a phase of {case} that starts at frame {begins[-1]}, "
            f"but the video has {length} frames"
        )
    frames = np.arange(begins[0], length)
    phases = np.array([starts[int(begin)] for begin in begins], np.int64)
    return frames, phases[np.searchsorted(begins, frames, side="right") - 1]


WORKFLOW_DATASETS.register(NAME)(
    WorkflowReader(
        name=NAME,
        licence="CC BY-NC 4.0",
        obtain="https://ftp.itec.aau.at/datasets/ovid/cat-101",
        tracks=tuple(track.name for track in TRACKS),
        find=find,
        scan=scan,
    )
)

"""SAR-RARP50: 50 cases of suturing in robot-assisted radical prostatectomy, with the gestures of the surgeon.

The folder::

    ROOT/
        train1/video_01/video_left.avi             60 fps; video_1 is understood too
        train1/video_01/action_discrete.txt        FRAME,GESTURE for every 6th frame, from 0, no header
        train1/video_01/rgb/000000000.png          instead of the video: its frames, named by native number
        train2/  test/  ...                        the same; every folder whose name begins with train or test is read

Quirks: some cases come as parts, `video_11_1` and `video_11_2`, which are videos of one case. Segmentation masks and
`action_continues.txt`, the same gestures as intervals, are not read. The toolkit of the challenge writes predictions in
the same layout beside the data, so that folders of other names are left alone.

Sides: `official` (default), cases 1 to 40 for training and 41 to 50 for testing, as in the challenge; hyper-parameters
have no side of their own. Which folder a case lies in is not looked at.

Source: Psychogyios et al., SAR-RARP50 (arXiv:2401.00496), CC BY-NC-SA 4.0; layout by
surgical-vision/SAR_RARP50-evaluation. It was not checked against the videos themselves.
"""

import re
from pathlib import Path

import numpy as np

from evaluation.datasets.dataset import find_below
from evaluation.datasets.numbered_images import open_numbered
from evaluation.datasets.recordings import labeled_video, open_video
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

NAME = "sar_rarp50"
NATIVE_FPS = 60.0
GESTURES = (
    "other",
    "picking_up_the_needle",
    "positioning_the_needle_tip",
    "pushing_the_needle_through_the_tissue",
    "pulling_the_needle_out_of_the_tissue",
    "tying_a_knot",
    "cutting_the_suture",
    "returning_the_needle",
)
TRACKS = (Track("gesture", GESTURES),)

_LABELS, _VIDEO, _IMAGES = "action_discrete.txt", "video_left.avi", "rgb"
_SETS = ("train", "test")  # that names of the folders begin with
_FOLDER = re.compile(r"video_0*(\d+)((?:_\d+)?)", re.IGNORECASE)


def find(root: Path) -> Path | None:
    """The SAR-RARP50 folder at `root` or up to two levels below; `None` if there is none."""
    return find_below(root, "SAR-RARP50", lambda folder: any(folder.glob(f"train*/video_*/{_LABELS}")))


def scan(root: Path, split: Split, fps: float) -> WorkflowDataset:
    """Read labels and headers of videos.

    Raises:
        UserError: a case without folder, a folder without labels or recording, two folders of one part, a line that is
            not understood, or labels that do not fit their video.
    """
    parts = _parts(root)
    videos: list[LabeledVideo] = []
    for case, side in split.cases:
        if case not in parts:
            raise UserError(f"{NAME}: case {case!r} of the split has no folder such as {str(root / 'train1' / case)!r}")
        videos += [_read(case, side, folder, fps) for _, folder in sorted(parts[case].items())]
    return WorkflowDataset(NAME, root, TRACKS, tuple(videos), split.name, split.source)


def _parts(root: Path) -> dict[str, dict[str, Path]]:
    """Folders by part (empty where a case is whole) by case."""
    parts: dict[str, dict[str, Path]] = {}
    for folder in sorted(root.glob("*/video_*")):
        match = _FOLDER.fullmatch(folder.name)
        if not match or not folder.is_dir() or not folder.parent.name.lower().startswith(_SETS):
            continue
        own = parts.setdefault(f"video_{int(match[1]):02d}", {})
        if match[2] in own:
            raise UserError(f"{NAME}: {str(own[match[2]])!r} and {str(folder)!r} are the same part of one case")
        own[match[2]] = folder
    return parts


def _read(case: str, side: Side, folder: Path, fps: float) -> LabeledVideo:
    file = folder / _LABELS
    frames, gesture = _read_gestures(file)
    if (folder / _VIDEO).is_file():
        recording = open_video(NAME, folder / _VIDEO, NATIVE_FPS)
    elif (folder / _IMAGES).is_dir():
        recording = open_numbered(NAME, folder / _IMAGES, file, frames, NATIVE_FPS)
    else:
        raise UserError(f"{NAME}: {str(folder)!r} has neither {_VIDEO} nor a folder {_IMAGES} of frames")
    return labeled_video(NAME, case, side, recording, file, frames, {"gesture": gesture}, fps)


def _read_gestures(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Frames and gestures, int64 (N,)."""
    if not file.is_file():
        raise UserError(f"{NAME}: {str(file)!r} is missing; the dataset is incomplete or has another layout")
    frames: list[int] = []
    gestures: list[int] = []
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), start=1):
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != 2 or not all(cell.isdecimal() for cell in cells) or int(cells[1]) >= len(GESTURES):
            raise UserError(
                f"{NAME}: line {number} of {str(file)!r} is {line!r}, "
                f"not a frame and a gesture 0 to {len(GESTURES) - 1}"
            )
        if frames and int(cells[0]) <= frames[-1]:
            raise UserError(f"{NAME}: line {number} of {str(file)!r} is of frame {cells[0]}, after frame {frames[-1]}")
        frames.append(int(cells[0]))
        gestures.append(int(cells[1]))
    if not frames:
        raise UserError(f"{NAME}: {str(file)!r} has no lines")
    return np.array(frames, np.int64), np.array(gestures, np.int64)


WORKFLOW_DATASETS.register(NAME)(
    WorkflowReader(
        name=NAME,
        licence="CC BY-NC-SA 4.0",
        obtain="https://www.synapse.org/Synapse:syn27618412",
        tracks=tuple(track.name for track in TRACKS),
        find=find,
        scan=scan,
    )
)

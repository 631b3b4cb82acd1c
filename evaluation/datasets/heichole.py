"""HeiChole (EndoVis 2019): 24 public videos of laparoscopic cholecystectomy with phases, instruments and actions.

The folder; letters of all names in any case::

    ROOT/
        Videos/Full/Hei-Chole1.mp4 ... Hei-Chole24.mp4            25 fps; 16-20, 23 and 24 at 50 fps
        Annotations/Phase/Hei-Chole1_Annotation_Phase.csv              frame, phase 0..6
        Annotations/Instrument/Hei-Chole1_Annotation_Instrument.csv    frame, 21 columns of 0 and 1
        Annotations/Action/Hei-Chole1_Annotation_Action.csv            frame, grasp, hold, cut, clip
        frames/Hei-Chole1/...                                     instead of videos: extracted frames, see `open_images`

The tables are comma separated with a row for every native frame and no header; a first row of words is taken as one.

Quirks: the phases are those of Cholec80 by id. Of the 21 instrument columns the first seven are named, the next
thirteen reserved, the last is an undefined shaft: the seven are read. Instruments and actions are `UNLABELED` on frames
that only the phases have. Frames outside of the body were made white, and are labeled like others. A video tells its
rate itself; for images it is the one above. Skill is read by `heichole_skill.py`, `_Instrument_Detailed` by nothing.

Sides: the nine test videos of the challenge are withheld, so the folds are our own: five by video, `fold1` by default.

Source: Wagner et al., HeiChole (Medical Image Analysis 2023), understood as CC BY-NC-SA 4.0; layout from a public audit
of the release and public loaders. Neither was checked against the release.
"""

import re
from pathlib import Path

import numpy as np

from evaluation.datasets import cholec80
from evaluation.datasets.dataset import find_below
from evaluation.datasets.label_tables import lay_on
from evaluation.datasets.recordings import (
    FPS_TOLERANCE,
    VIDEO_SUFFIX,
    Recording,
    by_case,
    label_file,
    labeled_video,
    open_recording,
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

NAME = "heichole"
PHASES = cholec80.PHASES
TOOLS = (
    "Grasper",
    "Clipper",
    "Coagulation instruments",
    "Scissors",
    "Suction-irrigation",
    "Specimen bag",
    "Stapler",
)
ACTIONS = ("grasp", "hold", "cut", "clip")
TRACKS = (Track("phase", PHASES), Track("tool", TOOLS, several=True), Track("action", ACTIONS, several=True))
AT_50_FPS = frozenset(f"Hei-Chole{number}" for number in (16, 17, 18, 19, 20, 23, 24))  # all others: 25 fps
# Videos of another rate than known must be covered by their labels to this share: a re-encoded one is not.
COVERED = 0.9

_COLUMNS = {"Phase": 2, "Instrument": 22, "Action": 5}  # of each kind of table, the frame included


def find(root: Path) -> Path | None:
    """The HeiChole folder at `root` or up to two levels below; `None` if there is none."""
    return find_below(root, "HeiChole", _is_home)


def scan(root: Path, split: Split, fps: float) -> WorkflowDataset:
    """Read labels and headers of videos.

    Raises:
        UserError: a case without label file or recording, two files for one case, a row that is not understood, or
            labels that do not fit their video.
    """
    homes = {kind: folder_of(root, "Annotations", kind) for kind in _COLUMNS}
    files = {
        kind: by_case(NAME, home, rf"hei[-_ ]?chole0*(\d+)_annotation_{kind}\.csv", _case)
        for kind, home in homes.items()
    }
    home = folder_of(root, "Videos", "Full")
    videos = by_case(NAME, home, rf"hei[-_ ]?chole0*(\d+){VIDEO_SUFFIX}", _case)
    folders = by_case(NAME, folder_of(root, "frames"), r"hei[-_ ]?chole0*(\d+)", _case)

    def read(case: str, side: Side) -> LabeledVideo:
        phase_file, tool_file, action_file = (
            label_file(NAME, case, files[kind], homes[kind] / f"{case}_Annotation_{kind}.csv") for kind in _COLUMNS
        )
        table = _read_table(phase_file, "Phase", len(PHASES) - 1)
        frames, phase = table[:, 0], table[:, 1]
        tools, actions = _read_table(tool_file, "Instrument", 1), _read_table(action_file, "Action", 1)
        labels = {
            "phase": phase,
            "tool": lay_on(NAME, tool_file, frames, tools[:, 0], tools[:, 1 : 1 + len(TOOLS)].astype(np.int8)),
            "action": lay_on(NAME, action_file, frames, actions[:, 0], actions[:, 1:].astype(np.int8)),
        }
        native_fps, length = 50.0 if case in AT_50_FPS else 25.0, int(frames[-1]) + 1
        if case in videos:
            recording = _open_video(videos[case], native_fps, phase_file, length)
        else:
            recording = open_recording(NAME, case, videos, folders, home / f"{case}.mp4", native_fps, length)
        return labeled_video(NAME, case, side, recording, phase_file, frames, labels, fps)

    read_videos = tuple(read(case, side) for case, side in split.cases)
    return WorkflowDataset(NAME, root, TRACKS, read_videos, split.name, split.source)


def folder_of(root: Path, *names: str) -> Path:
    """A folder by its names in any case of letters; as they are written here if there is none."""
    for name in names:
        same = [child for child in root.iterdir() if child.name.lower() == name.lower()] if root.is_dir() else []
        root = sorted(same)[0] if same else root / name
    return root


def _is_home(folder: Path) -> bool:
    phases = folder_of(folder, "Annotations", "Phase")
    return bool(by_case(NAME, phases, r"(hei[-_ ]?chole\d+)_annotation_phase\.csv", str))


def _case(number: str) -> str:
    return f"Hei-Chole{int(number)}"


def _open_video(path: Path, native_fps: float, file: Path, length: int) -> Recording:
    """The video at the rate that it states, as long as its labels are at that rate too."""
    recording = open_video(NAME, path, None)
    is_known = abs(recording.fps / native_fps - 1) <= FPS_TOLERANCE
    if not is_known and recording.length is not None and length < COVERED * recording.length:
        raise UserError(
            f"{NAME}: {str(path)!r} has {recording.length} frames at {recording.fps:g} frames/s, {str(file)!r} labels "
            f"{length}; put the original video of {native_fps:g} frames/s there"
        )
    return recording


def _read_table(file: Path, kind: str, top: int) -> np.ndarray:
    """A table without header, int64 (N, columns): frames, ascending, then values from 0 to `top`."""
    try:
        lines = [line for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{NAME}: {str(file)!r} cannot be read as text ({error})") from error
    if lines and not any(character.isdigit() for character in lines[0].split(",")[0]):
        lines = lines[1:]
    if not lines:
        raise UserError(f"{NAME}: {str(file)!r} has no rows")
    try:
        table = np.loadtxt(lines, dtype=np.int64, delimiter=",", comments=None, ndmin=2)
    except ValueError as error:
        raise _wrong_row(file, kind, lines) from error
    if table.shape[1] != _COLUMNS[kind]:
        raise _wrong_row(file, kind, lines)
    if table[0, 0] < 0:
        raise UserError(f"{NAME}: row 1 of {str(file)!r} is of frame {table[0, 0]}; frames count from 0")
    wrong = np.argwhere((table[:, 1:] < 0) | (table[:, 1:] > top))
    if len(wrong):
        number, column = wrong[0] + 1
        raise UserError(
            f"{NAME}: row {number} of {str(file)!r} holds {table[number - 1, column]}; known are 0 to {top}"
        )
    back = np.flatnonzero(np.diff(table[:, 0]) <= 0)
    if len(back):
        before, after = table[back[0] : back[0] + 2, 0]
        raise UserError(f"{NAME}: row {back[0] + 2} of {str(file)!r} is of frame {after}, after frame {before}")
    return table


def _wrong_row(file: Path, kind: str, lines: list[str]) -> UserError:
    """The first row that is not as many whole numbers as there are columns."""
    for number, line in enumerate(lines, start=1):
        cells = line.split(",")
        if len(cells) != _COLUMNS[kind]:
            return UserError(f"{NAME}: row {number} of {str(file)!r} has {len(cells)} cells, not {_COLUMNS[kind]}")
        for cell in cells:
            if not re.fullmatch(r"-?\d{1,18}", cell.strip()):
                return UserError(f"{NAME}: row {number} of {str(file)!r} holds {cell!r}, not a whole number")
    raise AssertionError(f"{str(file)!r} was refused, but no row of it is wrong")


WORKFLOW_DATASETS.register(NAME)(
    WorkflowReader(
        name=NAME,
        licence="CC BY-NC-SA 4.0 (variant not verified)",
        obtain="https://www.synapse.org/heichole (syn18824884)",
        tracks=tuple(track.name for track in TRACKS),
        find=find,
        scan=scan,
    )
)

"""AutoLaparo, task 2: 300 clips of laparoscopic hysterectomy with the motion of the laparoscope that follows.

The folder::

    ROOT/
        Task 2 Laparoscope motion prediction/         also shortened: task2, Task_2 ...; or its content right in ROOT
            clips/001.mp4 ... 300.mp4                 1920 x 1080, 25 fps, 10 s
            laparoscope_motion_label.txt              Clip<TAB>Label<TAB>Phase, label 0..6, a row for every clip

Quirks: the motion comes in the second half of a clip and is to be predicted, so that only frames of the first 5 s are
read: the 16 that the authors take. The column `Phase` is that of task 1 and not read. The text of the folder's name was
not verified, so everything that begins with "Task 2" in any spelling is taken.

Sides: the official split by number of clip. Which of the 21 operations a clip is from is not published, so a case is a
clip here: clips of one operation can lie on two sides, and intervals over cases come out too narrow.

Source: Wang et al., AutoLaparo (MICCAI 2022), CC BY-NC-SA 4.0; layout and frames as read by ziyiwangx/AutoLaparo. It
was not checked against the label file itself.
"""

import re
from pathlib import Path

from evaluation.datasets.dataset import FrameReference, find_below
from evaluation.datasets.recordings import VIDEO_SUFFIX, by_case, open_video
from evaluation.datasets.samples import SAMPLE_DATASETS, LabeledSample, SampleDataset, SampleReader, Target
from evaluation.datasets.workflow import Side, Split, load_split, read_rows
from training.errors import UserError

NAME = "autolaparo_motion"
NATIVE_FPS = 25.0
MOTIONS = ("Static", "Up", "Down", "Left", "Right", "Zoom-in", "Zoom-out")
TARGET = Target("motion", "single", MOTIONS)
# Native frames from 0: about 3 a second of the first 5 s, those of t2_datapre.py of the authors, which counts from 1.
FRAMES = tuple(n - 1 for n in (1, 9, 17, 25, 33, 41, 50, 58, 66, 75, 83, 91, 100, 108, 116, 125))

_LABELS = "laparoscope_motion_label.txt"
_TASK = re.compile(r"task[ _-]*2(?!\d).*", re.IGNORECASE)


def find(root: Path) -> Path | None:
    """The AutoLaparo folder at `root` or up to two levels below; `None` if there is none."""
    return find_below(root, "AutoLaparo", lambda folder: _task_folder(folder) is not None)


def scan(root: Path, split: Split | None) -> SampleDataset:
    """Read labels and headers of clips.

    Raises:
        UserError: no folder of task 2, or two; a clip of the split without label or file, two files or rows for one
            clip, a row that is not understood, or a clip of another rate or with fewer frames than are read.
    """
    split = split or load_split(NAME)
    home = _task_folder(root)
    if home is None:
        raise UserError(f"{NAME}: {str(root)!r} has no folder 'Task 2 ...' with {_LABELS} in it")
    file = home / _LABELS
    labels = _read_labels(file)
    clips = by_case(NAME, home / "clips", rf"0*(\d+){VIDEO_SUFFIX}", _case)

    def read(case: str, side: Side) -> LabeledSample:
        if case not in labels:
            raise UserError(f"{NAME}: clip {case!r} of the split has no row in {str(file)!r}")
        if case not in clips:
            raise UserError(f"{NAME}: clip {case!r} of the split has no video such as '{home / 'clips' / case}.mp4'")
        recording = open_video(NAME, clips[case], NATIVE_FPS)
        if recording.length is not None and recording.length <= FRAMES[-1]:
            raise UserError(
                f"{NAME}: {str(clips[case])!r} has {recording.length} frames; the first {FRAMES[-1] + 1} are needed"
            )
        return LabeledSample(case, side, tuple(FrameReference(clips[case], frame) for frame in FRAMES), labels[case])

    samples = tuple(read(case, side) for case, side in split.cases)
    return SampleDataset(NAME, root, TARGET, samples, split.name, split.source)


def _task_folder(folder: Path) -> Path | None:
    """The folder of task 2: named so, or the one given if the label file lies right in it."""
    named = [child for child in folder.iterdir() if _TASK.fullmatch(child.name) and (child / _LABELS).is_file()]
    if len(named) > 1:
        one, other = sorted(map(str, named))[:2]
        raise UserError(f"{NAME}: {one!r} and {other!r} both look like task 2; one of them is expected")
    if named:
        return named[0]
    return folder if (folder / _LABELS).is_file() else None


def _read_labels(file: Path) -> dict[str, int]:
    """Motion by clip."""
    labels: dict[str, int] = {}
    for number, row in enumerate(read_rows(NAME, file, ["Clip", "Label"]), start=1):
        if not row["Clip"].isdecimal():
            raise UserError(f"{NAME}: row {number} of {str(file)!r} has Clip {row['Clip']!r}, not a whole number")
        if row["Label"] not in map(str, range(len(MOTIONS))):
            raise UserError(
                f"{NAME}: row {number} of {str(file)!r} has Label {row['Label']!r}; known are 0 to {len(MOTIONS) - 1}"
            )
        case = _case(row["Clip"])
        if case in labels:
            raise UserError(f"{NAME}: row {number} of {str(file)!r} is the second one of clip {case!r}")
        labels[case] = int(row["Label"])
    return labels


def _case(number: str) -> str:
    return f"{int(number):03d}"


SAMPLE_DATASETS.register(NAME)(
    SampleReader(
        name=NAME,
        licence="CC BY-NC-SA 4.0",
        obtain="https://autolaparo.github.io (request form)",
        target=TARGET,
        find=find,
        scan=scan,
    )
)

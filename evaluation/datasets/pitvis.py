"""PitVis-2023: 25 videos of endoscopic pituitary surgery with steps and instruments, of which 24 are annotated.

The folder::

    ROOT/
        video_01.mp4 ... video_25.mp4        24 fps, video 24 at 25
        annotations_01.csv                   int_video,int_time,int_step,int_instrument1,int_instrument2; a row a second
        video_01/00000.png ...               instead of videos: extracted frames, see `open_images`

Quirks: row t is of frame t times the whole rate of the video, and the last row lies behind its end. Step -1, out of the
patient, is class 0, as there is no step 0; all other steps keep their id. Instruments are two columns: -1 is out of the
patient and -2 no second one, neither of which is a class; 0, nothing visible or hidden, is one, as in the challenge.
Ids go by the published list and `map_steps.csv` and `map_instruments.csv` are not read: they name some ids twice.
Video 19 has no annotations. The metric `pitvis_score` takes steps as ids, so that class 0 is -1 there.

Sides: the eight test videos of the challenge are not public. `suggested` (default) tests on videos 01, 12, 21, 24 and
25, as the paper suggests, `pitvqa` on 02, 06, 12, 13 and 24, as mobarakol/PitVQA does; neither has a validation side.

Source: Das et al., PitVis-2023 (arXiv:2409.01184), CC BY-NC-ND 4.0; layout by dreets/pitvis. It was not checked against
the videos themselves.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from evaluation.datasets.dataset import find_below
from evaluation.datasets.recordings import (
    VIDEO_SUFFIX,
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
    read_rows,
)
from training.errors import UserError

NAME = "pitvis"
STEPS = (
    "out_of_patient",
    "nasal_corridor_creation",
    "anterior_sphenoidotomy",
    "septum_displacement",
    "sphenoid_sinus_clearance",
    "sellotomy",
    "durotomy",
    "tumour_excision",
    "haemostasis",
    "synthetic_graft_placement",
    "fat_graft_placement",
    "gasket_seal_construct",
    "dural_sealant",
    "nasal_packing",
    "debris_clearance",
)
INSTRUMENTS = (
    "none_or_hidden",
    "bipolar_forceps",
    "cottle",
    "cup_forceps",
    "dural_scissors",
    "freer_elevator",
    "haemostatic_foam",
    "irrigation_syringe",
    "kerrisons",
    "micro_doppler",
    "nasal_cutting_forceps",
    "pituitary_rongeurs",
    "retractable_knife",
    "ring_curette",
    "spatula_dissector",
    "stealth_pointer",
    "suction",
    "surgical_drill",
    "tissue_glue",
)
TRACKS = (Track("step", STEPS), Track("instrument", INSTRUMENTS, several=True))

_OUT, _NO_SECOND = -1, -2
_IDS = {  # that a column may hold
    "int_step": (_OUT, *range(1, len(STEPS))),
    "int_instrument1": (_OUT, *range(len(INSTRUMENTS))),
    "int_instrument2": (_NO_SECOND, _OUT, *range(len(INSTRUMENTS))),
}
_IMAGE_FPS = {"video_24": 25}  # of the video that images were taken from; a video states its own
_USUAL_FPS = 24


def find(root: Path) -> Path | None:
    """The PitVis folder at `root` or up to two levels below; `None` if there is none."""
    return find_below(root, "PitVis", lambda folder: any(folder.glob("annotations_[0-9]*.csv")))


def scan(root: Path, split: Split, fps: float) -> WorkflowDataset:
    """Read labels and headers of videos.

    Raises:
        UserError: a case without label file or recording, two files for one case, a row that is not understood, or
            labels that do not fit their video.
    """
    tables = by_case(NAME, root, r"annotations_0*(\d+)\.csv", _case)
    videos = by_case(NAME, root, rf"video_0*(\d+){VIDEO_SUFFIX}", _case)
    folders = by_case(NAME, root, r"video_0*(\d+)", _case)

    def read(case: str, side: Side) -> LabeledVideo:
        file = label_file(NAME, case, tables, root / f"{case.replace('video', 'annotations')}.csv")
        seconds, labels = _read_labels(file, case)
        if case in videos:
            recording = open_video(NAME, videos[case], native_fps=None)
        else:
            image_fps = _IMAGE_FPS.get(case, _USUAL_FPS)
            expected = root / f"{case}.mp4"
            length = int(seconds[-1]) * image_fps + 1
            recording = open_recording(NAME, case, {}, folders, expected, image_fps, length)
        recording = dataclasses.replace(recording, fps=float(round(recording.fps)))  # rows count whole frames
        frames = seconds * round(recording.fps)
        return labeled_video(NAME, case, side, recording, file, frames, labels, fps)

    read_videos = tuple(read(case, side) for case, side in split.cases)
    return WorkflowDataset(NAME, root, TRACKS, read_videos, split.name, split.source)


def _case(number: str) -> str:
    return f"video_{int(number):02d}"


def _read_labels(file: Path, case: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Seconds int64 (N,) and labels by track of a table."""
    rows = read_rows(NAME, file, ["int_video", "int_time", *_IDS], separator=",")
    if not rows:
        raise UserError(f"{NAME}: {str(file)!r} has no rows")
    seconds = _seconds(file, rows, case)
    columns = {column: np.array(_ids(file, rows, column), np.int64) for column in _IDS}
    step = np.where(columns["int_step"] == _OUT, 0, columns["int_step"])
    instrument = np.zeros((len(rows), len(INSTRUMENTS)), np.int8)
    for column in ("int_instrument1", "int_instrument2"):
        seen = np.flatnonzero(columns[column] >= 0)
        instrument[seen, columns[column][seen]] = 1
    return seconds, {"step": step, "instrument": instrument}


def _seconds(file: Path, rows: Sequence[Mapping[str, str]], case: str) -> np.ndarray:
    seconds: list[int] = []
    for number, row in enumerate(rows, start=1):
        if not row["int_video"].isdecimal() or _case(row["int_video"]) != case:
            raise UserError(f"{NAME}: row {number} of {str(file)!r} is of video {row['int_video']!r}, not of {case}")
        time = row["int_time"]
        if not time.isdecimal() or (seconds and int(time) <= seconds[-1]):
            raise UserError(f"{NAME}: row {number} of {str(file)!r} has int_time {time!r}, not a later whole second")
        seconds.append(int(time))
    return np.array(seconds, np.int64)


def _ids(file: Path, rows: Sequence[Mapping[str, str]], column: str) -> list[int]:
    known = {str(number): number for number in _IDS[column]}
    for number, row in enumerate(rows, start=1):
        if row[column] not in known:
            raise UserError(
                f"{NAME}: row {number} of {str(file)!r} has {column} {row[column]!r}; known are {', '.join(known)}"
            )
    return [known[row[column]] for row in rows]


WORKFLOW_DATASETS.register(NAME)(
    WorkflowReader(
        name=NAME,
        licence="CC BY-NC-ND 4.0",
        obtain="https://huggingface.co/datasets/UCL-WEISS/PitVis-2023",
        tracks=tuple(track.name for track in TRACKS),
        find=find,
        scan=scan,
    )
)

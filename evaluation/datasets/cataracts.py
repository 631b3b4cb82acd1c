"""CATARACTS: 50 videos of cataract surgery with 21 tools and, from a later release, 19 steps.

The folder; letters of all names in any case::

    ROOT/
        train01/frame1.jpg ... train25/, test01/ ... test25/      native frames from 1, all or every n-th; or
        videos/train01.mp4 ...                                    the videos, also right in ROOT; 1920 x 1080, 30 fps
        tool_annotations/train01.csv         Frame,to_be_evaluated,biomarker,Charleux cannula,... 0, 0.5 or 1
        phase_annotations/train01.csv        Frame,Steps, step 0..18; the folder is optional

Quirks: `Frame` counts from 1, a row for every native frame, so Frame n is native frame n - 1. A tool of 0.5 is one that
the two experts disagree on and is `UNLABELED`; so are all tools of a frame whose `to_be_evaluated` is 0 (the column may
be missing). Columns go by name. Steps are `UNLABELED` throughout where there is no folder of them.

Sides: `workflow` (25/5/20), the training videos of the challenge, five of its test videos for validation, and the other
20.

Source: Al Hajj et al., CATARACTS (Medical Image Analysis 2019), licence on request; layout and split as read by public
loaders. It was not checked against the release; that 0.5 and `to_be_evaluated` mean this is our reading.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from evaluation.datasets.dataset import find_below
from evaluation.datasets.label_tables import lay_on, read_frames
from evaluation.datasets.recordings import (
    SPARE_ROWS,
    VIDEO_SUFFIX,
    Recording,
    by_case,
    images_by_number,
    label_file,
    labeled_video,
    open_video,
)
from evaluation.datasets.workflow import (
    UNLABELED,
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

NAME = "cataracts"
NATIVE_FPS = 30.0
TOOLS = (
    "Biomarker",
    "Charleux Cannula",
    "Hydrodissection Cannula",
    "Rycroft Cannula",
    "Viscoelastic Cannula",
    "Cotton",
    "Capsulorhexis Cystotome",
    "Bonn Forceps",
    "Capsulorhexis Forceps",
    "Troutman Forceps",
    "Needle Holder",
    "Irrigation/Aspiration Handpiece",
    "Phacoemulsifier Handpiece",
    "Vitrectomy Handpiece",
    "Implant Injector",
    "Primary Incision Knife",
    "Secondary Incision Knife",
    "Micromanipulator",
    "Suture Needle",
    "Mendez Ring",
    "Vannas Scissors",
)
STEPS = (
    "Idle",
    "Toric Marking",
    "Implant Ejection",
    "Incision",
    "Viscodilatation",
    "Capsulorhexis",
    "Hydrodissection",
    "Nucleus Breaking",
    "Phacoemulsification",
    "Vitrectomy",
    "Irrigation/Aspiration",
    "Preparing Implant",
    "Manual Aspiration",
    "Implanting",
    "Positioning",
    "OVD Aspiration",
    "Suturing",
    "Sealing Control",
    "Wound Hydration",
)
TRACKS = (Track("tool", TOOLS, several=True), Track("step", STEPS))

_CASE = r"((?:train|test)\d{2})"
_EVALUATED = "to_be_evaluated"
_PRESENCE = {"0": 0, "0.0": 0, "0.5": UNLABELED, "1": 1, "1.0": 1}


def find(root: Path) -> Path | None:
    """The CATARACTS folder at `root` or up to two levels below; `None` if there is none."""
    return find_below(root, "CATARACTS", lambda folder: bool(_tables(folder, "tool_annotations")))


def scan(root: Path, split: Split, fps: float) -> WorkflowDataset:
    """Read labels and headers of videos, or names of images.

    Raises:
        UserError: a case without label file or recording, two files for one case, a row that is not understood, or
            labels that do not fit their recording.
    """
    tools, steps = _tables(root, "tool_annotations"), _tables(root, "phase_annotations")
    videos = by_case(NAME, [root, root / "videos"], _CASE + VIDEO_SUFFIX, str.lower)
    folders = by_case(NAME, [root, root / "frames"], _CASE, str.lower)

    def read(case: str, side: Side) -> LabeledVideo:
        file = label_file(NAME, case, tools, root / "tool_annotations" / f"{case}.csv")
        frames, tool = _read_tools(file)
        step = np.full(len(frames), UNLABELED, np.int64)
        if (root / "phase_annotations").is_dir():
            step_file = label_file(NAME, case, steps, root / "phase_annotations" / f"{case}.csv")
            step = lay_on(NAME, step_file, frames, *_read_steps(step_file))
        if case in videos:
            recording = open_video(NAME, videos[case], NATIVE_FPS)
        elif case in folders:
            recording = _open_images(folders[case], file, int(frames[-1]) + 1)
        else:
            raise UserError(
                f"{NAME}: case {case!r} of the split has neither images such as '{root / case}/frame1.jpg' "
                f"nor a video such as '{root / 'videos' / case}.mp4'"
            )
        return labeled_video(NAME, case, side, recording, file, frames, {"tool": tool, "step": step}, fps)

    read_videos = tuple(read(case, side) for case, side in split.cases)
    return WorkflowDataset(NAME, root, TRACKS, read_videos, split.name, split.source)


def _tables(root: Path, folder: str) -> dict[str, Path]:
    return by_case(NAME, root / folder, _CASE + r"\.csv", str.lower)


def _read_tools(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Native frames from 0, int64 (N,), and tools, int8 (N, 21) of 0, 1 and `UNLABELED`."""
    rows = read_rows(NAME, file, ["Frame"], ",")
    frames = _from_0(file, rows)
    spelled = {column.lower(): column for column in rows[0]}
    missing = [tool for tool in TOOLS if tool.lower() not in spelled]
    if missing:
        raise UserError(f"{NAME}: {str(file)!r} has no column {missing[0]!r}; its columns are {', '.join(rows[0])}")
    columns, evaluated = [spelled[tool.lower()] for tool in TOOLS], spelled.get(_EVALUATED)
    tools = np.full((len(rows), len(TOOLS)), UNLABELED, np.int8)
    for number, row in enumerate(rows, start=1):
        if evaluated and row[evaluated] not in ("0", "1"):
            raise UserError(f"{NAME}: row {number} of {str(file)!r} has {evaluated} {row[evaluated]!r}; it is 0 or 1")
        wrong = next((column for column in columns if row[column] not in _PRESENCE), None)
        if wrong:
            raise UserError(f"{NAME}: row {number} of {str(file)!r} has {wrong} {row[wrong]!r}; it is 0, 0.5 or 1")
        if not evaluated or row[evaluated] == "1":
            tools[number - 1] = [_PRESENCE[row[column]] for column in columns]
    return frames, tools


def _read_steps(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Native frames from 0 and steps, int64 (N,)."""
    rows = read_rows(NAME, file, ["Frame", "Steps"], ",")
    known = {str(number): number for number in range(len(STEPS))}
    for number, row in enumerate(rows, start=1):
        if row["Steps"] not in known:
            raise UserError(
                f"{NAME}: row {number} of {str(file)!r} has the step {row['Steps']!r}; known are 0 to {len(STEPS) - 1}"
            )
    return _from_0(file, rows), np.array([known[row["Steps"]] for row in rows], np.int64)


def _from_0(file: Path, rows: Sequence[Mapping[str, str]]) -> np.ndarray:
    frames = read_frames(NAME, file, rows)
    if frames[0] < 1:
        raise UserError(f"{NAME}: row 1 of {str(file)!r} is of Frame {frames[0]}; frames count from 1")
    return frames - 1


def _open_images(folder: Path, file: Path, length: int) -> Recording:
    """Images of a case: `frame1.jpg` is native frame 0; there are all of them, or every n-th to the end."""
    images = images_by_number(NAME, folder)
    numbers = np.fromiter(images, np.int64)
    gaps = np.diff(numbers)
    holes = np.flatnonzero(gaps != gaps[:1])
    if len(holes):
        before, after = numbers[holes[0] : holes[0] + 2]
        raise UserError(
            f"{NAME}: {str(folder)!r} has no images between frames {before} and {after}, "
            f"but one every {gaps[0]} frames before; the dataset is incomplete"
        )
    step = int(gaps[0]) if len(gaps) else 1
    if not 1 <= numbers[0] <= step or not -SPARE_ROWS <= length - numbers[-1] < step + SPARE_ROWS:
        raise UserError(
            f"{NAME}: {str(folder)!r} holds images numbered {numbers[0]} to {numbers[-1]}, but {str(file)!r} labels "
            f"the native frames 1 to {length}; images are named by native frame, as frame1.jpg"
        )
    return Recording(folder, NATIVE_FPS, images={int(number) - 1: images[number] for number in numbers})


WORKFLOW_DATASETS.register(NAME)(
    WorkflowReader(
        name=NAME,
        licence="on request (IEEE DataPort)",
        obtain="https://ieee-dataport.org/open-access/cataracts",
        tracks=tuple(track.name for track in TRACKS),
        find=find,
        scan=scan,
    )
)

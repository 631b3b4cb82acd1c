"""CholecT50 and CholecT45: laparoscopic cholecystectomy with action triplets, their components, and phases.

The folder, of CholecT50::

    ROOT/
        videos/VID01/000000.png ...       1 fps, 854 x 480; the name is the frame, from 0
        labels/VID01.json                 {"fps": 1, "categories": {...}, "annotations": {"0": [[15 values], ...], ...}}

and of CholecT45, the older release, which has no phases::

    ROOT/
        data/VID01/000000.png ...
        triplet/VID01.txt                 a line for every frame: FRAME,0,1,... one column for each class
        instrument/VID01.txt  verb/VID01.txt  target/VID01.txt

An annotation holds the ids of triplet (value 0), instrument (1), verb (7), target (8) and phase (14), -1 for none, with
confidences and boxes between. A frame has any number of them; its classes are all of theirs.

Quirks: frames outside of the body are black images without triplets and stay in. Instruments, verbs and targets are
taken as annotated, not derived from the triplets. A frame without any annotation has no phase: `UNLABELED`, as are all
of CholecT45. The last labeled frame may lack its image. Video numbers are those of Cholec80, of which 45 are videos.

Sides: `cholect50` (default), `challenge` and folds 1 to 5 of `cholect50_crossval_` and `cholect45_crossval_`, whose
validation side is the last five videos of the folds for training, as in the published loader.

Source: Nwoye et al., Rendezvous (Medical Image Analysis 2022), CC BY-NC-SA 4.0; layout by CAMMA-public/cholect50,
splits by arXiv:2204.05235. A genuine set of text files was read; the JSON files were not checked against genuine ones.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.datasets.cholec80 import PHASES
from evaluation.datasets.dataset import find_below, read_json
from evaluation.datasets.numbered_images import open_numbered
from evaluation.datasets.recordings import by_case, label_file, labeled_video
from evaluation.datasets.workflow import (
    UNLABELED,
    WORKFLOW_DATASETS,
    LabeledVideo,
    Side,
    Split,
    Track,
    WorkflowDataset,
    WorkflowReader,
)
from modeling_zen.cholect50 import CHOLECT50, INSTRUMENTS, TARGETS, VERBS
from training.errors import UserError

NAME = "cholect50"
TEXT_FPS = 1.0  # of CholecT45, whose text files do not state it
TRIPLETS = tuple(
    f"{INSTRUMENTS[instrument]},{VERBS[verb]},{TARGETS[target]}" for instrument, verb, target in CHOLECT50["triplets"]
)
TRACKS = (
    Track("triplet", TRIPLETS, several=True),
    Track("instrument", tuple(INSTRUMENTS), several=True),
    Track("verb", tuple(VERBS), several=True),
    Track("target", tuple(TARGETS), several=True),
    Track("phase", PHASES),
)
COMPONENTS = TRACKS[:4]

_PLACES = {"triplet": 0, "instrument": 1, "verb": 7, "target": 8, "phase": 14}  # in the 15 values of an annotation
_VALUES = 15


def find(root: Path) -> Path | None:
    """The CholecT50 or CholecT45 folder at `root` or up to two levels below; `None` if there is none."""
    return find_below(root, "CholecT50", _is_home)


def scan(root: Path, split: Split, fps: float) -> WorkflowDataset:
    """Read labels and names of images.

    Raises:
        UserError: a case without labels or images, or with two of them, labels that are not understood (by frame or
            line), or a labeled frame without image.
    """
    folders = by_case(NAME, [root / "videos", root / "data"], r"VID0*(\d+)", _case)
    files = by_case(NAME, [root / "labels", root / COMPONENTS[0].name], r"VID0*(\d+)\.(?:json|txt)", _case)
    texts = {track.name: by_case(NAME, root / track.name, r"VID0*(\d+)\.txt", _case) for track in COMPONENTS}

    def read(case: str, side: Side) -> LabeledVideo:
        file = label_file(NAME, case, files, root / "labels" / f"{case}.json")
        if file.suffix.lower() == ".json":
            native_fps, frames, labels = _read_annotations(file)
        else:
            native_fps, frames, labels = TEXT_FPS, *_read_texts(root, case, texts)
        folder = folders.get(case, root / "videos" / case)
        recording = open_numbered(NAME, folder, file, frames, native_fps)
        return labeled_video(NAME, case, side, recording, file, frames, labels, fps)

    videos = tuple(read(case, side) for case, side in split.cases)
    return WorkflowDataset(NAME, root, TRACKS, videos, split.name, split.source)


def _is_home(folder: Path) -> bool:
    if all((folder / track.name).is_dir() for track in COMPONENTS):
        return True
    return (folder / "labels").is_dir() and any((folder / "labels").glob("VID*.json"))


def _case(number: str) -> str:
    return f"VID{int(number):02d}"


def _read_annotations(file: Path) -> tuple[float, np.ndarray, dict[str, np.ndarray]]:
    """Frames per second, frames (N,) and labels by track of a JSON file."""
    content = read_json(NAME, file)
    rate, annotations = content.get("fps", TEXT_FPS), content.get("annotations")
    if not isinstance(rate, (int, float)) or rate <= 0:
        raise UserError(f"{NAME}: {str(file)!r} has fps {rate!r}, not a number of frames per second")
    if not isinstance(annotations, dict) or not annotations:
        raise UserError(f"{NAME}: {str(file)!r} has no object 'annotations' with lists by frame")
    _check_categories(file, content.get("categories"))
    for key in annotations:
        if not key.isdecimal():
            raise UserError(f"{NAME}: {str(file)!r} has the frame {key!r}, not a whole number")
    keys = sorted(annotations, key=int)
    labels = {track.name: np.zeros((len(keys), len(track.classes)), np.int8) for track in COMPONENTS}
    phase = np.full(len(keys), UNLABELED, np.int64)
    for row, key in enumerate(keys):
        for annotation in annotations[key]:
            ids = _ids(file, key, annotation)
            for track in COMPONENTS:
                if ids[track.name] != UNLABELED:
                    labels[track.name][row, ids[track.name]] = 1
            if UNLABELED not in (phase[row], ids["phase"]) and phase[row] != ids["phase"]:
                raise UserError(
                    f"{NAME}: frame {key} of {str(file)!r} is of the phases {phase[row]} and {ids['phase']}"
                )
            phase[row] = max(phase[row], ids["phase"])
    return float(rate), np.array([int(key) for key in keys], np.int64), {**labels, "phase": phase}


def _ids(file: Path, frame: str, annotation: Any) -> dict[str, int]:
    """Class ids of an annotation by track."""
    if not isinstance(annotation, list) or len(annotation) != _VALUES:
        raise UserError(f"{NAME}: frame {frame} of {str(file)!r} has an annotation that is not a list of 15 values")
    ids = {}
    for track in TRACKS:
        value = annotation[_PLACES[track.name]]
        if value not in range(UNLABELED, len(track.classes)):  # 3.0 is in a range, 3.5 and "3" are not
            raise UserError(
                f"{NAME}: frame {frame} of {str(file)!r} has the {track.name} {value!r}; "
                f"known are 0 to {len(track.classes) - 1}, and -1 for none"
            )
        ids[track.name] = int(value)
    return ids


def _check_categories(file: Path, categories: Any) -> None:
    """Refuse a file whose own names tell other ids; spellings that are not known here are let pass."""
    for track in TRACKS:
        names = categories.get(track.name) if isinstance(categories, dict) else None
        for number, name in names.items() if isinstance(names, dict) else ():
            if name in track.classes and number != str(track.classes.index(name)):
                raise UserError(
                    f"{NAME}: {str(file)!r} has {name!r} as {track.name} {number}, "
                    f"which is {track.classes.index(name)} in the published list"
                )


def _read_texts(
    root: Path, case: str, texts: Mapping[str, Mapping[str, Path]]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Frames (N,) and labels by track of the four text files of a case."""
    files = {
        track.name: label_file(NAME, case, texts[track.name], root / track.name / f"{case}.txt") for track in COMPONENTS
    }
    frames, labels = None, {}
    for track in COMPONENTS:
        own, labels[track.name] = _read_text(files[track.name], track)
        if frames is not None and not np.array_equal(frames, own):
            raise UserError(
                f"{NAME}: {str(files[track.name])!r} has {len(own)} lines, {str(files['triplet'])!r} {len(frames)}, or "
                "they are of other frames; the four files of a video list the same frames"
            )
        frames = own
    assert frames is not None  # there are components
    return frames, {**labels, "phase": np.full(len(frames), UNLABELED, np.int64)}


def _read_text(file: Path, track: Track) -> tuple[np.ndarray, np.ndarray]:
    """Frames int64 (N,) and flags int8 (N, C) of a text file."""
    frames: list[int] = []
    flags: list[list[bool]] = []
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), start=1):
        frame, *values = (cell.strip() for cell in line.split(","))
        if len(values) != len(track.classes) or not set(values) <= {"0", "1"} or not frame.isdecimal():
            raise UserError(
                f"{NAME}: line {number} of {str(file)!r} is not a frame and {len(track.classes)} values of 0 or 1"
            )
        if frames and int(frame) <= frames[-1]:
            raise UserError(f"{NAME}: line {number} of {str(file)!r} is of frame {frame}, after frame {frames[-1]}")
        frames.append(int(frame))
        flags.append([value == "1" for value in values])
    if not frames:
        raise UserError(f"{NAME}: {str(file)!r} has no lines")
    return np.array(frames, np.int64), np.array(flags, np.int8)


WORKFLOW_DATASETS.register(NAME)(
    WorkflowReader(
        name=NAME,
        licence="CC BY-NC-SA 4.0",
        obtain="https://github.com/CAMMA-public/cholect50 (request form)",
        tracks=tuple(track.name for track in TRACKS),
        find=find,
        scan=scan,
    )
)

"""Labels along whole videos: what readers of workflow datasets (phases, steps, gestures, tools) hand on."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from evaluation.datasets.dataset import CaseOnTwoSidesError
from training.errors import UserError
from training.registry import Registry, unknown_name

UNLABELED = -1  # in arrays of labels: nothing is said of this frame
SPLITS = Path(__file__).resolve().parents[1] / "splits"  # one JSON file per dataset
Side = Literal["train", "val", "test"]
SIDES: tuple[Side, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Track:
    """One kind of label: `classes[i]` is the name of id `i`."""

    name: str  # "phase", "step", "gesture", "tool" ...
    classes: tuple[str, ...]
    several: bool = False  # any number of classes at once: a 0/1 column each


@dataclass(frozen=True)
class LabeledVideo:
    """The labeled frames of one video, in order of time.

    Attributes:
        case_id: operation or patient, what splits and intervals are made by.
        video: a video file, or the folder of its frames.
        fps: native frames per second, what `frames` counts.
        frames: int64 (N,), native frame numbers from 0, ascending.
        files: image of each frame where the dataset comes as images, else empty.
        labels: by name of the track: int64 (N,), or int8 (N, C) of 0 and 1 where several classes may hold; `UNLABELED`
            where nothing is said.
    """

    case_id: str
    side: Side
    video: Path
    fps: float
    frames: np.ndarray
    labels: Mapping[str, np.ndarray]
    files: tuple[Path, ...] = ()

    @property
    def seconds(self) -> np.ndarray:
        """Time of each frame from the start of the video, float64 (N,)."""
        return self.frames / self.fps


@dataclass(frozen=True)
class WorkflowDataset:
    """A scanned dataset.

    Raises:
        UserError: a side without videos, a case on two sides, labels that do not fit frames or tracks (by video).
    """

    name: str
    root: Path
    tracks: tuple[Track, ...]
    videos: tuple[LabeledVideo, ...]
    split: str  # its name, as scores of different splits cannot be compared
    split_source: str

    def __post_init__(self) -> None:
        sides: dict[str, set[str]] = {
            side: {video.case_id for video in self.videos if video.side == side} for side in SIDES
        }
        for side in ("train", "test"):
            if not sides[side]:
                raise UserError(f"dataset {self.name} in {str(self.root)!r} has no video on the {side} side")
        for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
            if shared := sorted(sides[one] & sides[other]):
                raise CaseOnTwoSidesError(
                    f"dataset {self.name} in {str(self.root)!r}: case {shared[0]!r} is on the sides {one} and {other} "
                    f"of split {self.split!r}; a case belongs to one of them"
                )
        for video in self.videos:
            for track in self.tracks:
                _check_labels(self.name, video, track)

    def fingerprint(self) -> str:
        """SHA-256 over names, classes, sides, frames and labels; no absolute paths."""
        digest = hashlib.sha256(
            json.dumps([self.name, self.split, [[track.name, track.classes] for track in self.tracks]]).encode()
        )
        for video in self.videos:
            place = video.video.relative_to(self.root).as_posix()
            digest.update(json.dumps([place, video.case_id, video.side, video.fps]).encode())
            digest.update(video.frames.tobytes())
            for name in sorted(video.labels):
                digest.update(video.labels[name].tobytes())
        return digest.hexdigest()


def _check_labels(dataset: str, video: LabeledVideo, track: Track) -> None:
    labels = video.labels.get(track.name)
    if labels is None:
        raise UserError(f"dataset {dataset}: video {str(video.video)!r} has no labels of {track.name}")
    shape = (len(video.frames), len(track.classes)) if track.several else (len(video.frames),)
    if labels.shape != shape:
        raise UserError(
            f"dataset {dataset}: {track.name} of video {str(video.video)!r} has shape {labels.shape}, not {shape}"
        )
    top = 1 if track.several else len(track.classes) - 1
    wrong = np.unique(labels[(labels < UNLABELED) | (labels > top)])
    if len(wrong):
        raise UserError(f"dataset {dataset}: {track.name} of video {str(video.video)!r} holds {wrong[0]}, up to {top}")
    if len(video.frames) and (np.diff(video.frames) <= 0).any():
        raise UserError(f"dataset {dataset}: frames of video {str(video.video)!r} are not in ascending order")


@dataclass(frozen=True)
class Split:
    """A split by case as it is shipped: `evaluation/splits/<dataset>.json`."""

    name: str
    source: str
    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def cases(self) -> tuple[tuple[str, Side], ...]:
        """Every case with its side, in the order of the file."""
        return tuple((case, side) for side in SIDES for case in getattr(self, side))

    def side_of(self, case_id: str) -> Side | None:
        """The side of a case; `None` if the split leaves it out."""
        return next((side for side in SIDES if case_id in getattr(self, side)), None)


def load_split(dataset: str, name: str | None = None) -> Split:
    """A shipped split.

    The file is `{"default": NAME, "splits": {NAME: {"source": TEXT, "train": [...], "val": [...], "test": [...]}}}`.

    Args:
        dataset: name of the dataset.
        name: of the split; the file's default if left out.

    Raises:
        UserError: a split that the file does not have, with those that it has.
    """
    content = json.loads((SPLITS / f"{dataset}.json").read_text(encoding="utf-8"))
    name = name or content["default"]
    if name not in content["splits"]:
        raise unknown_name(f"split of {dataset}", name, content["splits"])
    split = content["splits"][name]
    return Split(name, split["source"], *(tuple(split.get(side, ())) for side in SIDES))


def at_rate(frames: np.ndarray, native_fps: float, fps: float) -> np.ndarray:
    """Which labeled frames to take for `fps` frames per second: indices into `frames`.

    The first labeled frame of each interval [k / fps, (k + 1) / fps). Taking every n-th row instead drifts where n is
    not whole (30 fps sampled at 4).

    Args:
        frames: int64 (N,), native frame numbers, ascending.
        native_fps: frames per second that they count.
        fps: wanted; at least the rate of the labels takes all of them.
    """
    intervals = np.floor(frames / native_fps * fps + 1e-6)
    return np.unique(intervals, return_index=True)[1]


@dataclass(frozen=True)
class WorkflowReader:
    """A workflow dataset that the benchmark can read.

    `find` looks at a folder and two levels below. `scan(root, split, fps)` reads labels (no pixels): the cases of a
    split of `evaluation/splits/<name>.json`, at `fps` frames per second.
    """

    name: str
    licence: str
    obtain: str
    tracks: tuple[str, ...]
    find: Callable[[Path], Path | None]
    scan: Callable[[Path, Split, float], WorkflowDataset]


WORKFLOW_DATASETS: Registry[WorkflowReader] = Registry("workflow dataset")


def read_rows(noun: str, path: Path, columns: Sequence[str], separator: str = "\t") -> list[dict[str, str]]:
    """Rows of a text table with a header, as text by column.

    Args:
        noun: name of the dataset, for messages.
        path: the file, UTF-8, with or without byte order mark.
        columns: that must be there; others are kept too.
        separator: between cells; cells are stripped.

    Raises:
        UserError: no such file, another encoding, a missing column, or a row of another length (by line).
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise UserError(f"{noun}: {str(path)!r} is missing; the dataset is incomplete or has another layout") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{noun}: {str(path)!r} cannot be read as text ({error})") from error
    header = [cell.strip() for cell in lines[0].split(separator)] if lines else []
    missing = [column for column in columns if column not in header]
    if missing:
        raise UserError(f"{noun}: {str(path)!r} has no column {missing[0]!r}; its columns are {', '.join(header)}")
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split(separator)]
        if len(cells) != len(header):
            raise UserError(f"{noun}: line {number} of {str(path)!r} has {len(cells)} cells, the header {len(header)}")
        rows.append(dict(zip(header, cells, strict=True)))
    return rows

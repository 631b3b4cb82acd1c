"""LEMON (Surg-3M): videos of surgery from YouTube, each with the procedures that it shows.

The folder, as rebuilt with the scripts of visurg-ai/LEMON or given out by its authors::

    ROOT/
        labels.json                     [{"youtubeId": "80czDESoMiQ", "procedureName": ["splenectomy", ...], ...}, ...]
        80czDESoMiQ.mp4                 below ROOT in any folder; TITLE-80czDESoMiQ.mp4 too, as it is downloaded
        80czDESoMiQ.json                beside a curated video: {"80czDESoMiQ-0": {"class": "surgical", ...}, ...}

Quirks: the 4,194 videos are not given out freely and disappear from YouTube, so that those that are there are read.
Curated videos have non-surgical frames in black; where the file beside a video says which, none of them is taken. An id
may hold or begin with a dash: the last 11 characters of a name are the id. 266 videos show two or three procedures.
The rarest two, vaginectomy and cecectomy, have 7 and 2 videos, and may be missing on a side.

Samples: `FRAMES` frames of each video, each in the middle of one of as many equal parts.

Sides: there is no official split. `fold_1` (default) to `fold_5` are ours, by video; `hash_folds.py` has the rule. Who
put a video up is not published, so that two videos of one surgeon can be on two sides.

Source: Che et al., LEMON (arXiv 2503.19740), labels CC BY 4.0, videos with their uploaders. The genuine labels.json was
read, the videos were not.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.datasets.dataset import FrameReference, find_below, read_json
from evaluation.datasets.hash_folds import hash_split
from evaluation.datasets.recordings import VIDEO_SUFFIX, open_video
from evaluation.datasets.samples import SAMPLE_DATASETS, LabeledSample, SampleDataset, SampleReader, Target
from evaluation.datasets.workflow import Split
from training.errors import UserError

NAME = "lemon"
LABELS = "labels.json"
# Frames of a video: with 13 minutes on average they lie 50 s apart, and all 4,194 videos give 67,104 frames, as many
# as a workflow dataset at 1 frame per second.
FRAMES = 16
PROCEDURES = (
    "abdominoperineal_resection",
    "adhesiolysis",
    "adrenalectomy",
    "ampullectomy",
    "appendectomy",
    "cecectomy",
    "cholecystectomy",
    "colectomy",
    "cystectomy",
    "duodenal_switch",
    "esophagectomy",
    "gastrectomy",
    "gastric_bypass",
    "hartmanns",
    "hepatectomy",
    "hernia_repair",
    "hysterectomy",
    "ileocolic_resection",
    "ileorectal_anastomosis",
    "jejunostomy",
    "kidney_transplant",
    "low_anterior_resection",
    "myomectomy",
    "nephrectomy",
    "nissen_fundoplication",
    "pancreatectomy",
    "pancreaticoduodenectomy",
    "prostatectomy",
    "pulmonary_lobectomy",
    "rectopexy",
    "small_bowel_resection",
    "splenectomy",
    "thymectomy",
    "ulcer_repair",
    "vaginectomy",
)
TARGET = Target("procedure", "multi", PROCEDURES)

_VIDEO = re.compile(rf"(?:.*-)?(?P<id>[\w-]{{11}}){VIDEO_SUFFIX}", re.IGNORECASE)
_HEAD_CHARACTERS = 4096


def find(root: Path) -> Path | None:
    """The LEMON folder at `root` or up to two levels below; `None` if there is none."""
    return find_below(root, "LEMON", _is_home)


def scan(root: Path, split: Split | None = None) -> SampleDataset:
    """Read labels and headers of videos, in order of ids.

    Args:
        root: of the dataset.
        split: `fold_split(root, 1)` if left out.

    Raises:
        UserError: broken labels (by entry), an unknown procedure, a video without entry, two of one id, no video at
            all, a case of the split without video, or a video that is too short or cannot be read.
    """
    labels = _read_labels(root / LABELS)
    videos = _find_videos(root, labels)
    split = split or hash_split(NAME, videos, 1)
    samples = []
    for case, side in sorted(split.cases):
        if case not in videos:
            raise UserError(f"{NAME}: case {case!r} of the split has no video below {str(root)!r}")
        frames = tuple(FrameReference(videos[case], number) for number in _spread(videos[case]))
        samples.append(LabeledSample(case, side, frames, labels[case]))
    return SampleDataset(NAME, root, TARGET, tuple(samples), split.name, split.source)


def fold_split(root: Path, fold: int) -> Split:
    """One of our folds, 1 to 5, over the videos that are there; see `hash_folds.py`."""
    return hash_split(NAME, _find_videos(root, _read_labels(root / LABELS)), fold)


def _is_home(folder: Path) -> bool:
    file = folder / LABELS
    if not file.is_file():
        return False
    with file.open(encoding="utf-8", errors="replace") as stream:
        head = stream.read(_HEAD_CHARACTERS)
    return '"youtubeId"' in head and '"procedureName"' in head


def _read_labels(file: Path) -> dict[str, tuple[int, ...]]:
    """0 or 1 for each of `PROCEDURES`, by id."""
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{NAME}: {str(file)!r} cannot be read as JSON ({error})") from error
    if not isinstance(entries, list):
        raise UserError(f"{NAME}: {str(file)!r} holds a {type(entries).__name__} where a list of videos is expected")
    labels: dict[str, tuple[int, ...]] = {}
    for number, entry in enumerate(entries, start=1):
        where = f"entry {number} of {str(file)!r}"
        case, names = _fields(where, entry)
        if unknown := sorted(set(names) - set(PROCEDURES)):
            raise UserError(f"{NAME}: {where} has the procedure {unknown[0]!r}; known are {', '.join(PROCEDURES)}")
        if case in labels:
            raise UserError(f"{NAME}: {where} is the second one of video {case!r}")
        labels[case] = tuple(int(procedure in names) for procedure in PROCEDURES)
    return labels


def _fields(where: str, entry: Any) -> tuple[str, list[str]]:
    """Id and procedures of an entry."""
    fields = entry if isinstance(entry, dict) else {}
    case, names = fields.get("youtubeId"), fields.get("procedureName")
    if (
        not isinstance(case, str)
        or not isinstance(names, list)
        or not names
        or not all(isinstance(n, str) for n in names)
    ):
        raise UserError(f"{NAME}: {where} lacks a 'youtubeId' and a list 'procedureName' of at least one procedure")
    return case, names


def _find_videos(root: Path, labels: dict[str, tuple[int, ...]]) -> dict[str, Path]:
    """Videos by id."""
    videos: dict[str, Path] = {}
    for path in sorted(root.rglob("*")):
        if not re.fullmatch(f".*{VIDEO_SUFFIX}", path.name, re.IGNORECASE) or path.name.startswith("._"):
            continue
        match = _VIDEO.fullmatch(path.name)
        case = match["id"] if match else ""
        if case not in labels:
            raise UserError(f"{NAME}: video {str(path)!r} does not end in an id of {str(root / LABELS)!r}")
        if case in videos:
            raise UserError(f"{NAME}: {str(videos[case])!r} and {str(path)!r} are both of video {case!r}")
        videos[case] = path
    if not videos:
        raise UserError(f"{NAME}: no video lies below {str(root)!r}; names end in the ids of {LABELS}")
    return videos


def _spread(video: Path) -> list[int]:
    """Native numbers of the frames to take, ascending."""
    length = open_video(NAME, video, None).length
    if length is None:
        raise UserError(f"{NAME}: {str(video)!r} states no number of frames; convert it to mp4")
    notes = video.with_suffix(".json")
    frames = _surgical(notes, length) if notes.is_file() else np.arange(length)
    if len(frames) < FRAMES:
        raise UserError(f"{NAME}: {str(video)!r} has {len(frames)} frames to take from; at least {FRAMES} are expected")
    middles = ((np.arange(FRAMES) + 0.5) * len(frames) / FRAMES).astype(np.int64)
    return [int(frame) for frame in frames[middles]]


def _surgical(notes: Path, length: int) -> np.ndarray:
    """Native numbers of the frames that are called surgical, int64, ascending."""
    numbers = []
    for key, entry in read_json(NAME, notes).items():
        kind = entry.get("class") if isinstance(entry, dict) else None
        match = re.fullmatch(r".*-(\d+)", key)
        if kind not in ("surgical", "non-surgical") or not match or int(match[1]) >= length:
            raise UserError(
                f"{NAME}: entry {key!r} of {str(notes)!r} is not ID-FRAME with the class surgical or non-surgical and "
                f"a frame below {length}, the frames of its video"
            )
        if kind == "surgical":
            numbers.append(int(match[1]))
    return np.array(sorted(numbers), np.int64)


SAMPLE_DATASETS.register(NAME)(
    SampleReader(
        name=NAME,
        licence="CC BY 4.0 for labels, none stated for videos",
        obtain="https://github.com/visurg-ai/LEMON",
        target=TARGET,
        find=find,
        scan=scan,
        fold=fold_split,
    )
)

"""Endoscapes-CVS201: frames of 201 laparoscopic cholecystectomies with the critical view of safety (CVS), as released.

The folder::

    ROOT/
        train/{VIDEO}_{FRAME}.jpg ...           854 x 480, one frame a second; FRAME counts at 25 fps
        val/ ..., test/ ...                     the same
        train_vids.txt, val_vids.txt, test_vids.txt     a video a line, as 1.000000000000000000e+00
        all_metadata.csv                        a row for every frame: vid, frame, C1, C2, C3, is_ds_keyframe,
                                                cvs_annotator_1 "[0, 1, 0]", cvs_annotator_2, cvs_annotator_3, ...

Quirks: every fifth frame, one in 5 s, was rated by three surgeons; only those are samples. C1 to C3 of the frames
between are carried on from the last rated one and never read. C1 (two structures), C2 (hepatocystic triangle) and C3
(cystic plate) are means of the three (0, 1/3, 2/3, 1); a criterion is met from 0.5 on. The COCO files, boxes and masks
are not read: `annotation_coco_vid.json` of the test side lacks 228 frames, the table has all. The subsets of training
videos in `12_5` and `25` are not read either.

Sides: the official split by patient, which must be that of the three lists. Videos 1, 2, 3, 4, 7 (train) and 121 (val)
are in Cholec80 too, 10, 33 (train) and 127 (val) in CholecT50.

Source: Murali et al., The Endoscapes Dataset (arXiv 2312.12429), CC BY-NC-SA 4.0; layout from
CAMMA-public/SurgLatentGraph and a public audit of the release. It was not checked against the release itself.
"""

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from evaluation.datasets.dataset import FrameReference, find_below, require_paths
from evaluation.datasets.endoscapes import CVS_NAMES
from evaluation.datasets.samples import SAMPLE_DATASETS, LabeledSample, SampleDataset, SampleReader, Target
from evaluation.datasets.workflow import SIDES, Side, Split, load_split
from evaluation.metrics.cvs_score import binary_from_raters
from training.errors import UserError

NAME = "endoscapes_cvs"
TARGET = Target("cvs", "multi", CVS_NAMES)
RATERS = ("cvs_annotator_1", "cvs_annotator_2", "cvs_annotator_3")
ROUNDING = 0.01  # by which a stated mean may differ from that of the three raters: tables round to two digits or more

_COLUMNS = ("vid", "frame", "is_ds_keyframe", *CVS_NAMES, *RATERS)
_RATING = re.compile(r"\[\s*([01])(?:\.0*)?\s*,\s*([01])(?:\.0*)?\s*,\s*([01])(?:\.0*)?\s*\]")
_OFFICIAL = "official"


def find(root: Path) -> Path | None:
    """The Endoscapes folder at `root` or up to two levels below; `None` if there is none."""
    return find_below(root, "Endoscapes", lambda folder: (folder / "all_metadata.csv").is_file())


def scan(root: Path, split: Split | None) -> SampleDataset:
    """Read the table of frames and the lists of videos; that images are there is looked up, they are not opened.

    Raises:
        UserError: a missing file or folder, a line or row that is not understood, a video in two lists or in none, a
            video of the official split in another list, a case without rated frame, a rated frame without image.
    """
    split = split or load_split(NAME)
    file = root / "all_metadata.csv"
    lists = {side: root / f"{side}_vids.txt" for side in SIDES}
    require_paths(NAME, [file, *lists.values(), *(root / side for side in SIDES)])
    folders = _read_lists(lists)
    ratings = _read_ratings(file)
    names = {side: {path.name for path in (root / side).iterdir()} for side in SIDES}
    samples = []
    for case, side in split.cases:
        folder = folders.get(case)
        if folder is None or (split.name == _OFFICIAL and folder != side):
            where = f"in {str(lists[folder])!r}" if folder else "in none of the lists of videos"
            raise UserError(f"{NAME}: video {case} of the {side} side of split {split.name!r} is {where}")
        if case not in ratings:
            raise UserError(f"{NAME}: video {case} of the split has no rated frame in {str(file)!r}")
        for frame, met in sorted(ratings[case].items()):
            image = root / folder / f"{case}_{frame}.jpg"
            if image.name not in names[folder]:
                require_paths(NAME, [image])
            samples.append(LabeledSample(case, side, (FrameReference(image),), met))
    return SampleDataset(NAME, root, TARGET, tuple(samples), split.name, split.source)


def _read_lists(lists: Mapping[Side, Path]) -> dict[str, Side]:
    """The list that a video is in, by video."""
    found: dict[str, Side] = {}
    for side, file in lists.items():
        for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), start=1):
            if not line.strip():
                continue
            video = _whole(line)
            if video is None:
                raise UserError(f"{NAME}: line {number} of {str(file)!r} is {line!r}, not the number of a video")
            if found.setdefault(str(video), side) != side:
                raise UserError(f"{NAME}: video {video} is in {str(lists[found[str(video)]])!r} and in {str(file)!r}")
    return found


def _read_ratings(file: Path) -> dict[str, dict[int, tuple[int, ...]]]:
    """Whether each criterion is met, by frame, by video; rated frames only."""
    found: dict[str, dict[int, tuple[int, ...]]] = {}
    for number, row in _rows(file):
        if row["is_ds_keyframe"].lower() not in ("true", "1", "1.0"):
            if row["is_ds_keyframe"].lower() not in ("false", "0", "0.0"):
                raise UserError(
                    f"{NAME}: row {number} of {str(file)!r} has is_ds_keyframe {row['is_ds_keyframe']!r}; "
                    "it is True or False"
                )
            continue
        video, frame = _whole(row["vid"]), _whole(row["frame"])
        if video is None or frame is None:
            raise UserError(f"{NAME}: row {number} of {str(file)!r} has a vid or frame that is no whole number")
        frames = found.setdefault(str(video), {})
        if frame in frames:
            raise UserError(f"{NAME}: row {number} of {str(file)!r} is the second one of video {video}, frame {frame}")
        frames[frame] = _met(file, number, row)
    return found


def _rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Number, from 1, and cells of each row; lists in it are quoted, as they hold commas."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            header = reader.fieldnames or []
            missing = [column for column in _COLUMNS if column not in header]
            if missing:
                raise UserError(
                    f"{NAME}: {str(file)!r} has no column {missing[0]!r}; its columns are {', '.join(header)}"
                )
            for number, row in enumerate(reader, start=1):
                if None in row or None in row.values():
                    raise UserError(
                        f"{NAME}: row {number} of {str(file)!r} has not the {len(header)} cells of its header"
                    )
                yield number, {column: row[column].strip() for column in _COLUMNS}
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{NAME}: {str(file)!r} cannot be read as a table ({error})") from error


def _met(file: Path, number: int, row: Mapping[str, str]) -> tuple[int, ...]:
    """0 or 1 for each criterion, from the means; they must be those of the raters."""
    marks = [_RATING.fullmatch(row[rater]) for rater in RATERS]
    try:
        means = np.array([float(row[name]) for name in CVS_NAMES])
        votes = np.array([[int(mark[place]) for place in (1, 2, 3)] for mark in marks if mark])
    except ValueError as error:
        raise UserError(f"{NAME}: row {number} of {str(file)!r} has a C1, C2 or C3 that is no number") from error
    if len(votes) < len(RATERS):
        raise UserError(f"{NAME}: row {number} of {str(file)!r} is of a rated frame, but lacks three marks of a rater")
    if not (np.abs(means - votes.mean(axis=0)) <= ROUNDING).all():
        raise UserError(
            f"{NAME}: row {number} of {str(file)!r} has C1, C2, C3 = {', '.join(row[name] for name in CVS_NAMES)}, "
            "which are not the means of its three raters"
        )
    return tuple(int(met) for met in binary_from_raters(votes.mean(axis=0)))


def _whole(text: str) -> int | None:
    """A whole number, also as 1.2e+02; `None` for anything else."""
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if number.is_integer() and number >= 0 else None


SAMPLE_DATASETS.register(NAME)(
    SampleReader(
        name=NAME,
        licence="CC BY-NC-SA 4.0",
        obtain="https://github.com/CAMMA-public/Endoscapes",
        target=TARGET,
        find=find,
        scan=scan,
    )
)

"""LapGyn4, Surgical Actions: frames of gynecologic laparoscopy, each with the one action that it shows.

The folder::

    ROOT/                                         LapGyn4_v1.2
        Surgical_Actions/
            Suturing/c_1_v_113587_f_13.jpg        c_CASE_v_VIDEO_f_FRAME; a case is one operation, 1 frame a second
            Coagulation/...                       eight folders, one a class
        Anatomical_Structures/, Actions_on_Anatomy/, Instrument_Count/       not read

Quirks: of its four data sets this reads the one of the benchmark's table, Surgical Actions (30,682 images as counted by
its readme). Classes are very unequal: Suturing has 12,914 images, Cutting_Cold 1,185. Neighboring frames are nearly the
same, so that a split by image would test on what was trained on. Instrument_Count has no case in its names and holds
images of Cholec80: another reason to leave it out.

Sides: there is no official split. `fold_1` (default) to `fold_5` are ours, by operation; `hash_folds.py` has the rule.

Source: Leibetseder et al., LapGyn4 (MMSys 2018), CC BY-NC 4.0; names and counts as the readme of version 1.2 has them,
quoted in DominikBatic/EndoViT. It was not checked against the images themselves.
"""

import re
from pathlib import Path

from evaluation.datasets.dataset import FrameReference, find_below, require_paths
from evaluation.datasets.hash_folds import hash_split
from evaluation.datasets.recordings import IMAGE_SUFFIXES
from evaluation.datasets.samples import SAMPLE_DATASETS, LabeledSample, SampleDataset, SampleReader, Target
from evaluation.datasets.workflow import Split
from training.errors import UserError

NAME = "lapgyn4"
FOLDER = "Surgical_Actions"
ACTIONS = (
    "Coagulation",
    "Cutting_Cold",
    "Cutting_HF",
    "Dissection_Blunt",
    "Injection",
    "Sling_Hysterectomy",
    "Suction_Irrigation",
    "Suturing",
)
TARGET = Target("action", "single", ACTIONS)

_FILE = re.compile(r"c_(?P<case>\d+)_v_(?P<video>\d+)_f_(?P<frame>\d+)")


def find(root: Path) -> Path | None:
    """The LapGyn4 folder at `root` or up to two levels below; `None` if there is none."""
    return find_below(root, "LapGyn4", lambda folder: (folder / FOLDER).is_dir())


def scan(root: Path, split: Split | None = None) -> SampleDataset:
    """Read the names of images, in order of case, video and time.

    Args:
        root: of the dataset.
        split: `fold_split(root, 1)` if left out.

    Raises:
        UserError: a class without folder or images, a folder that is no class, an image whose name tells no case, or
            a case of the split without images.
    """
    images = _read_images(root)
    cases = {f"c_{key[0]}" for key, _, _ in images}
    split = split or hash_split(NAME, cases, 1)
    sides = dict(split.cases)
    if missing := sorted(set(sides) - cases):
        raise UserError(f"{NAME}: case {missing[0]!r} of the split has no image in {str(root / FOLDER)!r}")
    samples = tuple(
        LabeledSample(case, sides[case], (FrameReference(path),), label)
        for key, path, label in images
        if (case := f"c_{key[0]}") in sides
    )
    return SampleDataset(NAME, root, TARGET, samples, split.name, split.source)


def fold_split(root: Path, fold: int) -> Split:
    """One of our folds, 1 to 5, over the cases that are there; see `hash_folds.py`."""
    return hash_split(NAME, {f"c_{key[0]}" for key, _, _ in _read_images(root)}, fold)


def _read_images(root: Path) -> list[tuple[tuple[int, int, int], Path, int]]:
    """Case, video and frame number, image and class id, in that order."""
    require_paths(NAME, [root / FOLDER / action for action in ACTIONS])
    images = []
    for folder in sorted(path for path in (root / FOLDER).iterdir() if path.is_dir() and path.name[0] != "."):
        if folder.name not in ACTIONS:
            raise UserError(f"{NAME}: folder {str(folder)!r} is no class; known are {', '.join(ACTIONS)}")
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            raise UserError(f"{NAME}: folder {str(folder)!r} holds no images")
        for path in files:
            match = _FILE.fullmatch(path.stem)
            if not match:
                raise UserError(
                    f"{NAME}: image {str(path)!r} is not named c_CASE_v_VIDEO_f_FRAME, which tells its operation"
                )
            key = int(match["case"]), int(match["video"]), int(match["frame"])
            images.append((key, path, ACTIONS.index(folder.name)))
    return sorted(images)


SAMPLE_DATASETS.register(NAME)(
    SampleReader(
        name=NAME,
        licence="CC BY-NC 4.0",
        obtain="http://ftp.itec.aau.at/datasets/LapGyn4",
        target=TARGET,
        find=find,
        scan=scan,
        fold=fold_split,
    )
)

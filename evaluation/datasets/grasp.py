"""GraSP: robot-assisted radical prostatectomy, 13 cases, with a surgical phase and step for every second.

The folder, of either release::

    ROOT/                                                 GraSP_30fps or GraSP_1fps
        frames/CASE001/000000068.jpg                      GraSP_1fps: 00068.jpg
        annotations/grasp_long-term_train.json            COCO, and in each annotation
        annotations/grasp_long-term_test.json             "phases": ID, "steps": ID

Quirks: the names of images count at a rate that is nowhere stated and differs between cases (30 or 45 a second, 1 in
GraSP_1fps). As there is a label for every second, it is the usual distance of the labeled frames of a case. Ids and
names of classes are read from the files. An id of -1 is `UNLABELED`, images without annotation are left out. Labels
were corrected in December 2024; the fingerprint of the dataset tells the releases apart. Of the short-term files, which
label boxes every 35 s, none is read.

Sides: `official` (the default and only one), 8 cases for training, 5 for testing and none for validation; choose
hyper-parameters on cases taken from training. The 8 cases for training are those of PSI-AVA.

Source: Ayobi et al. (arXiv:2401.11174); layout and keys by BCV-Uniandes/GraSP, not checked against genuine files.
"""

from pathlib import Path

import numpy as np

from evaluation.datasets.coco_labels import CaseLabels, case_labels, read_cases
from evaluation.datasets.dataset import find_below
from evaluation.datasets.numbered_images import open_numbered
from evaluation.datasets.recordings import labeled_video
from evaluation.datasets.workflow import (
    WORKFLOW_DATASETS,
    LabeledVideo,
    Side,
    Split,
    WorkflowDataset,
    WorkflowReader,
)
from training.errors import UserError

NAME = "grasp"
FIELDS = {"phase": "phases", "step": "steps"}  # by track, the key in an annotation

_FILES = ("annotations/grasp_long-term_train.json", "annotations/grasp_long-term_test.json")


def find(root: Path) -> Path | None:
    """The folder of a GraSP release at `root` or up to two levels below; `None` if there is none."""
    return find_below(root, "GraSP", lambda folder: (folder / _FILES[0]).is_file())


def scan(root: Path, split: Split, fps: float) -> WorkflowDataset:
    """Read labels and names of images.

    Raises:
        UserError: a missing file, a case that is not labeled or in both files, labels that are not understood (by
            annotation), or a labeled frame without image.
    """
    files = [root / name for name in _FILES]
    tracks, cases = read_cases(NAME, files, FIELDS)

    def read(case: str, side: Side) -> LabeledVideo:
        own = case_labels(NAME, case, cases, files)
        recording = open_numbered(NAME, root / "frames" / case, own.file, own.frames, native_fps(case, own))
        return labeled_video(NAME, case, side, recording, own.file, own.frames, own.labels, fps)

    videos = tuple(read(case, side) for case, side in split.cases)
    return WorkflowDataset(NAME, root, tracks, videos, split.name, split.source)


def native_fps(case: str, labels: CaseLabels) -> float:
    """Frames per second that the names of images count: the median distance of labels, of which there is one a second.

    Raises:
        UserError: fewer than two labeled frames.
    """
    if len(labels.frames) < 2:
        raise UserError(f"{NAME}: {str(labels.file)!r} labels {len(labels.frames)} frame of {case}; two are needed")
    return float(np.median(np.diff(labels.frames)))


WORKFLOW_DATASETS.register(NAME)(
    WorkflowReader(
        name=NAME,
        licence="MIT (repository); none stated for the frames",
        obtain="https://github.com/BCV-Uniandes/GraSP",
        tracks=tuple(FIELDS),
        find=find,
        scan=scan,
    )
)

"""PSI-AVA: robot-assisted radical prostatectomy, 8 cases, with surgical phases and steps of keyframes.

The folder, as of BCV-Uniandes/TAPIR (its `outputs`), or the same without the folders in brackets::

    ROOT/
        [PSIAVA/]keyframes/CASE001/00001.jpg                                1 fps; the name is the frame
        [data_annotations/psi-ava/]fold1/coco_anns/
            train_coco_anns_v3_35s.json                                     COCO, and in each annotation
            val_coco_anns_v3_35s.json                                       "phase": ID, "step": ID

Quirks: labels stand on keyframes about 35 s apart, some closer. They repeat in every box of a keyframe, and keyframes
without a box have none and are left out. Ids and names of classes are read from the files. The files of fold 1 hold all
cases, those of fold 2 are the same with sides exchanged, so that only fold 1 is read. Instruments and atomic actions
are labels of boxes and not read.

Sides: `fold1` (default) trains on CASE001, 004, 014 and 015 and tests on 002, 003, 007 and 021; `fold2` the reverse.
There is no validation side. GraSP holds the same cases.

Source: Valderrama et al. (MICCAI 2022, arXiv:2212.04582), MIT for the annotations of BCV-Uniandes/TAPIR. A genuine
annotation file was read; where the images lie was not checked.
"""

from pathlib import Path

from evaluation.datasets.coco_labels import case_labels, read_cases
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

NAME = "psi_ava"
NATIVE_FPS = 1.0
FIELDS = {"phase": "phase", "step": "step"}  # by track, the key in an annotation

_FRAMES = ("keyframes", "PSIAVA/keyframes")
_LABELS = ("fold1/coco_anns", "data_annotations/psi-ava/fold1/coco_anns")
_FILES = ("train_coco_anns_v3_35s.json", "val_coco_anns_v3_35s.json")


def find(root: Path) -> Path | None:
    """The PSI-AVA folder at `root` or up to two levels below; `None` if there is none."""
    return find_below(root, "PSI-AVA", lambda folder: any((folder / name / _FILES[1]).is_file() for name in _LABELS))


def scan(root: Path, split: Split, fps: float) -> WorkflowDataset:
    """Read labels and names of images.

    Raises:
        UserError: a missing file, a case that is not labeled or in both files, labels that are not understood (by
            annotation), or a labeled keyframe without image.
    """
    folder, frames = _existing(root, _LABELS), _existing(root, _FRAMES)
    files = [folder / name for name in _FILES]
    tracks, cases = read_cases(NAME, files, FIELDS)

    def read(case: str, side: Side) -> LabeledVideo:
        own = case_labels(NAME, case, cases, files)
        recording = open_numbered(NAME, frames / case, own.file, own.frames, NATIVE_FPS)
        return labeled_video(NAME, case, side, recording, own.file, own.frames, own.labels, fps)

    videos = tuple(read(case, side) for case, side in split.cases)
    return WorkflowDataset(NAME, root, tracks, videos, split.name, split.source)


def _existing(root: Path, places: tuple[str, ...]) -> Path:
    """The first of the places that is there; the first of all if none is, for the message of who looks into it."""
    return next((root / place for place in places if (root / place).is_dir()), root / places[0])


WORKFLOW_DATASETS.register(NAME)(
    WorkflowReader(
        name=NAME,
        licence="MIT (annotations); none stated for the frames",
        obtain="https://github.com/BCV-Uniandes/TAPIR",
        tracks=tuple(FIELDS),
        find=find,
        scan=scan,
    )
)

"""Samples with one label each: what readers of image, clip and whole-video datasets hand on."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from evaluation.datasets.dataset import CaseOnTwoSidesError, FrameReference
from evaluation.datasets.workflow import SIDES, Side, Split
from training.errors import UserError
from training.registry import Registry

Kind = Literal["single", "multi", "value"]


@dataclass(frozen=True)
class Target:
    """What is predicted.

    Attributes:
        name: of the label: "phase", "motion", "skill" ...
        kind: "single": one class of several; "multi": any number of classes at once; "value": real numbers.
        classes: `classes[i]` is the name of class id `i`, of column `i`, or of value `i`.
    """

    name: str
    kind: Kind
    classes: tuple[str, ...]

    def check(self, targets: np.ndarray) -> None:
        """Raise `ValueError` unless `targets` are int64 (N,) ids, bool (N, C), or finite float32 (N, C)."""
        wanted: type = {"single": np.int64, "multi": np.bool_, "value": np.float32}[self.kind]
        shape = targets.shape[:1] if self.kind == "single" else (len(targets), len(self.classes))
        if targets.dtype != wanted or targets.shape != shape:
            raise ValueError(f"targets of {self.name} are {targets.dtype} {targets.shape}, not {wanted} {shape}")
        if self.kind == "single" and ((targets < 0) | (targets >= len(self.classes))).any():
            raise ValueError(f"targets of {self.name} hold ids outside 0 .. {len(self.classes) - 1}")
        if self.kind == "value" and not np.isfinite(targets).all():
            raise ValueError(f"targets of {self.name} are not finite")


@dataclass(frozen=True)
class LabeledSample:
    """One sample.

    Attributes:
        case_id: operation, patient or source video, what splits and intervals are made by.
        side: of the split.
        frames: one for an image, several in order of time for a clip or a video.
        label: class id, 0/1 for every class, or values, as the target's kind has it.
    """

    case_id: str
    side: Side
    frames: tuple[FrameReference, ...]
    label: int | tuple[int, ...] | tuple[float, ...]


@dataclass(frozen=True)
class SampleDataset:
    """A scanned dataset.

    Raises:
        UserError: a side without samples, or a case on two sides.
    """

    name: str
    root: Path
    target: Target
    samples: tuple[LabeledSample, ...]
    split: str  # its name, as scores of different splits cannot be compared
    split_source: str

    def __post_init__(self) -> None:
        sides: dict[str, set[str]] = {
            side: {sample.case_id for sample in self.samples if sample.side == side} for side in SIDES
        }
        for side in ("train", "test"):
            if not sides[side]:
                raise UserError(f"dataset {self.name} in {str(self.root)!r} has no sample on the {side} side")
        for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
            if shared := sorted(sides[one] & sides[other]):
                raise CaseOnTwoSidesError(
                    f"dataset {self.name} in {str(self.root)!r}: case {shared[0]!r} is on the sides {one} and {other} "
                    f"of split {self.split!r}; a case belongs to one of them"
                )

    def fingerprint(self) -> str:
        """SHA-256 over names, classes, sides, frames and labels; no absolute paths."""
        head = [self.name, self.split, self.target.name, self.target.kind, self.target.classes]
        digest = hashlib.sha256(json.dumps(head).encode())
        for sample in self.samples:
            frames = [[f.path.relative_to(self.root).as_posix(), f.frame_index] for f in sample.frames]
            digest.update(json.dumps([sample.case_id, sample.side, frames, sample.label]).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class SampleReader:
    """A dataset of samples that the benchmark can read.

    `find` looks at a folder and two levels below; `scan(root, split)` reads labels (no pixels) of the cases of a split
    of `evaluation/splits/<name>.json`. `split` is None for a dataset that brings its own sides or is split by a rule;
    `fold(root, k)` gives the k-th of such splits, which are called `fold_1`, `fold_2` ...
    """

    name: str
    licence: str
    obtain: str
    target: Target
    find: Callable[[Path], Path | None]
    scan: Callable[[Path, Split | None], SampleDataset]
    fold: Callable[[Path, int], Split] | None = None


SAMPLE_DATASETS: Registry[SampleReader] = Registry("sample dataset")

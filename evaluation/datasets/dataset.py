"""What every dataset reader hands on: typed frame records with their case, side of the split and labels."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from training.errors import UserError
from training.registry import Registry

IGNORE = 255  # value of pixels without a label in the masks that `read_mask` returns
SEARCH_DEPTH = 2  # folders below a data root in which a dataset is looked for


class CaseOnTwoSidesError(UserError):
    """A case that is trained on and tested."""


@dataclass(frozen=True)
class FrameReference:
    """One frame: an image file, or a native frame number (0-based) of a video file."""

    path: Path
    frame_index: int | None = None


@dataclass(frozen=True)
class Record:
    """One labeled frame. `presence` follows `Dataset.presence_names`, `cvs` holds the rater means of C1, C2, C3."""

    case_id: str
    split: Literal["train", "test"]
    frame: FrameReference
    presence: tuple[bool, ...]
    mask: Path | None = None
    cvs: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Dataset:
    """A scanned dataset: its records and what their numbers mean.

    `mask_classes[i]` is the name of mask value `i`; values in `mask_ignore` count nowhere; any other value is an error.
    """

    name: str
    root: Path
    records: tuple[Record, ...]
    presence_names: tuple[str, ...]
    mask_classes: tuple[str, ...]
    mask_ignore: frozenset[int]
    split_source: str

    def __post_init__(self) -> None:
        sides = {side: {r.case_id for r in self.records if r.split == side} for side in ("train", "test")}
        for side, cases in sides.items():
            if not cases:
                raise UserError(f"dataset {self.name} in {str(self.root)!r} has no usable frame on the {side} side")
        shared = sorted(sides["train"] & sides["test"])
        if shared:
            raise CaseOnTwoSidesError(
                f"dataset {self.name} in {str(self.root)!r}: case {shared[0]!r} is on both sides of the split; "
                "a case belongs either to train or to test"
            )

    def fingerprint(self) -> str:
        """SHA-256 over what the benchmark reads: frames, cases, sides, labels and file sizes (no absolute paths)."""
        digest = hashlib.sha256(json.dumps([self.name, self.presence_names, self.mask_classes]).encode())
        for record in self.records:
            files = [record.frame.path] + ([record.mask] if record.mask else [])
            row = [
                [[file.relative_to(self.root).as_posix(), file.stat().st_size] for file in files],
                record.frame.frame_index,
                record.case_id,
                record.split,
                record.presence,
                record.cvs,
            ]
            digest.update(json.dumps(row).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class DatasetReader:
    """A dataset the benchmark can read. `find` looks at a folder and two levels below, `scan` reads what was found."""

    name: str
    licence: str
    obtain: str
    find: Callable[[Path], Path | None]
    scan: Callable[[Path], Dataset]


DATASETS: Registry[DatasetReader] = Registry("dataset")


def find_below(root: Path, noun: str, is_home: Callable[[Path], bool]) -> Path | None:
    """The folder for which `is_home` holds: `root` itself or the only one up to two levels below it, else `None`.

    Raises:
        UserError: two folders on the same level qualify.
    """
    level = [root]
    for _ in range(SEARCH_DEPTH + 1):
        homes = [folder for folder in level if is_home(folder)]
        if len(homes) > 1:
            raise UserError(
                f"two {noun} datasets lie below {str(root)!r}: {str(homes[0])!r} and {str(homes[1])!r}; "
                "give the folder of one of them as data root"
            )
        if homes:
            return homes[0]
        level = sorted(child for folder in level for child in _subfolders(folder))
    return None


def _subfolders(folder: Path) -> list[Path]:
    return [child for child in folder.iterdir() if child.is_dir() and not child.name.startswith(".")]


def require_paths(noun: str, paths: Iterable[Path]) -> None:
    """Raise a `UserError` that names the first of `paths` that does not exist."""
    for path in paths:
        if not path.exists():
            raise UserError(f"{noun}: {str(path)!r} is missing; the dataset is incomplete or has another layout")


def read_json(noun: str, path: Path) -> dict[str, object]:
    """The JSON object in `path`; `UserError` naming the file if it is broken or something else than an object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{noun}: {str(path)!r} is not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise UserError(f"{noun}: {str(path)!r} holds a {type(content).__name__} where a JSON object is expected")
    return content


def read_mask(path: Path, num_classes: int, ignore: frozenset[int]) -> np.ndarray:
    """A semantic mask at its native size.

    Args:
        path: 8-bit PNG with one channel, or three equal ones.
        num_classes: legal values are `0 .. num_classes - 1`.
        ignore: values that mean "no label here".

    Returns:
        uint8 (H, W); pixels without a label hold 255.

    Raises:
        UserError: an unreadable file, differing channels, or a value that is neither a class nor ignored.
    """
    try:
        with Image.open(path) as image:
            mask = np.asarray(image)
    except (OSError, UnidentifiedImageError) as error:
        raise UserError(f"mask {str(path)!r} cannot be read as an image ({error})") from error
    if mask.ndim == 3:
        if (mask != mask[..., :1]).any():
            raise UserError(f"mask {str(path)!r} is a color image; class ids in one channel are expected")
        mask = mask[..., 0]
    if mask.dtype != np.uint8:
        raise UserError(f"mask {str(path)!r} holds {mask.dtype} pixels; 8-bit class ids are expected")
    lookup = np.full(256, IGNORE, dtype=np.uint8)  # value in the file -> class id or 255
    lookup[:num_classes] = np.arange(num_classes)
    lookup[list(ignore)] = IGNORE
    present = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
    unknown = [int(value) for value in present if value >= num_classes and value not in ignore]
    if unknown:
        raise UserError(f"mask {str(path)!r} holds the value {unknown[0]}; known are 0 to {num_classes - 1}")
    return lookup[mask]

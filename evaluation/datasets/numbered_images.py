"""Recordings of datasets that come as images only, each named by the number of its frame."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from evaluation.datasets.recordings import IMAGE_SUFFIXES, SPARE_ROWS, Recording
from training.errors import UserError


def open_numbered(noun: str, folder: Path, file: Path, frames: np.ndarray, fps: float) -> Recording:
    """The images of a case, `000012.png` being frame 12 whatever else is there.

    Args:
        noun: name of the dataset, for messages.
        folder: of the images of one case.
        file: label file, for messages.
        frames: int64 (N,), labeled frames, ascending; the last one may lack its image, as it may lie behind the end.
        fps: frames per second that the names count.

    Raises:
        UserError: no such folder, a name without number, two images of one number, or a labeled frame without
            image.
    """
    images = numbered_images(noun, folder)
    missing = np.flatnonzero(~np.isin(frames, np.fromiter(images, np.int64)))
    if len(missing) > SPARE_ROWS or (len(missing) and missing[0] != len(frames) - 1):
        raise UserError(
            f"{noun}: frame {frames[missing[0]]}, labeled in {str(file)!r}, has no image in {str(folder)!r}"
        )
    return Recording(folder, fps, images=images)


def numbered_images(noun: str, folder: Path) -> dict[int, Path]:
    """Images of a folder by the number that is their name, ascending; see `open_numbered` for what is refused."""
    if not folder.is_dir():
        raise UserError(f"{noun}: {str(folder)!r} is missing; the dataset is incomplete or has another layout")
    images: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith("."):
            continue
        if not re.fullmatch(r"\d+", path.stem):
            raise UserError(f"{noun}: image {str(path)!r} is not named by the number of its frame")
        number = int(path.stem)
        if number in images:
            raise UserError(f"{noun}: images {str(images[number])!r} and {str(path)!r} have the same frame number")
        images[number] = path
    return dict(sorted(images.items()))


def either(noun: str, one: Mapping[str, Path], other: Mapping[str, Path]) -> dict[str, Path]:
    """Entries by case of two places; `UserError` if both have one of a case."""
    for case in one.keys() & other.keys():
        raise UserError(
            f"{noun}: {str(one[case])!r} and {str(other[case])!r} are both of case {case!r}; one of them is expected"
        )
    return {**one, **other}

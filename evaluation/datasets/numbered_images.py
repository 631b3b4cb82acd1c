"""Recordings of datasets that come as images only, each named by the number of its frame."""

from pathlib import Path

import numpy as np

from evaluation.datasets.recordings import SPARE_ROWS, Recording, images_by_number
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
        UserError: no such folder, what `images_by_number` refuses, or a labeled frame without image.
    """
    if not folder.is_dir():
        raise UserError(f"{noun}: {str(folder)!r} is missing; the dataset is incomplete or has another layout")
    images = images_by_number(noun, folder)
    missing = np.flatnonzero(~np.isin(frames, np.fromiter(images, np.int64)))
    if len(missing) > SPARE_ROWS or (len(missing) and missing[0] != len(frames) - 1):
        raise UserError(
            f"{noun}: frame {frames[missing[0]]}, labeled in {str(file)!r}, has no image in {str(folder)!r}"
        )
    return Recording(folder, fps, images=images)

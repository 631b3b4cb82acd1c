"""Label tables of workflow datasets: one row a frame, with the name of its phase or a 0/1 column for each tool."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from evaluation.datasets.recordings import SPARE_ROWS
from evaluation.datasets.workflow import UNLABELED, read_rows
from training.errors import UserError


def read_phases(noun: str, file: Path, ids: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """A table `Frame<TAB>Phase`.

    Args:
        noun: name of the dataset, for messages.
        file: the table.
        ids: class id by what stands in the column `Phase`.

    Returns:
        frames: int64 (N,) as they stand in the table.
        phases: int64 (N,), class ids.

    Raises:
        UserError: what `read_rows` refuses, no rows, a frame that is no number or an unknown phase (by row).
    """
    rows = read_rows(noun, file, ["Frame", "Phase"])
    for number, row in enumerate(rows, start=1):
        if row["Phase"] not in ids:
            raise UserError(
                f"{noun}: row {number} of {str(file)!r} has the unknown phase {row['Phase']!r}; "
                f"known are {', '.join(ids)}"
            )
    return read_frames(noun, file, rows), np.array([ids[row["Phase"]] for row in rows], dtype=np.int64)


def read_flags(noun: str, file: Path, columns: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """A table `Frame<TAB>COLUMN<TAB>COLUMN ...` of 0 and 1, the columns in any order.

    Args:
        noun: name of the dataset, for messages.
        file: the table.
        columns: wanted, in this order.

    Returns:
        frames: int64 (N,) as they stand in the table.
        flags: int8 (N, C) of 0 and 1.

    Raises:
        UserError: what `read_rows` refuses, no rows, a frame that is no number or another value than 0 and 1 (by row).
    """
    rows = read_rows(noun, file, ["Frame", *columns])
    for number, row in enumerate(rows, start=1):
        for column in columns:
            if row[column] not in ("0", "1"):
                raise UserError(f"{noun}: row {number} of {str(file)!r} has {column} {row[column]!r}; it is 0 or 1")
    flags = np.array([[row[column] == "1" for column in columns] for row in rows], dtype=np.int8)
    return read_frames(noun, file, rows), flags


def read_frames(noun: str, file: Path, rows: Sequence[Mapping[str, str]]) -> np.ndarray:
    """The column `Frame` as int64 (N,); `UserError` by row where it is no whole number or does not ascend."""
    if not rows:
        raise UserError(f"{noun}: {str(file)!r} has no rows")
    texts = [row["Frame"] for row in rows]
    for number, text in enumerate(texts, start=1):
        if not text.isdecimal():
            raise UserError(f"{noun}: row {number} of {str(file)!r} has Frame {text!r}, not a whole number")
    frames = np.array(texts, dtype=np.int64)
    back = np.flatnonzero(np.diff(frames) <= 0)
    if len(back):
        before, after = frames[back[0] : back[0] + 2]
        raise UserError(f"{noun}: row {back[0] + 2} of {str(file)!r} is of frame {after}, after frame {before}")
    return frames


def lay_on(noun: str, file: Path, frames: np.ndarray, labeled: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Labels of some frames laid on the frames of another table: `UNLABELED` where nothing is said.

    Args:
        noun: name of the dataset, for messages.
        file: where `labels` come from, for messages.
        frames: int64 (N,), ascending, frames to have labels for.
        labeled: int64 (M,), ascending; one that is not in `frames` is left out.
        labels: (M,) or (M, C).

    Returns:
        (N,) or (N, C), of the type of `labels`.

    Raises:
        UserError: further rows that are not in `frames`: the two tables are of different videos.
    """
    strays = np.flatnonzero(~np.isin(labeled, frames))
    if len(strays) > SPARE_ROWS:
        raise UserError(
            f"{noun}: row {strays[0] + 1} of {str(file)!r} is of frame {labeled[strays[0]]}, which the phases of this "
            f"video, frames {frames[0]} to {frames[-1]}, do not have"
        )
    laid = np.full((len(frames), *labels.shape[1:]), UNLABELED, dtype=labels.dtype)
    _, places, rows = np.intersect1d(frames, labeled, assume_unique=True, return_indices=True)
    laid[places] = labels[rows]
    return laid

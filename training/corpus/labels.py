"""What is said about one file instead of seen in it: the columns of a source manifest or of a dataset, checked."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from training.corpus.settings import CurationSettings
from training.errors import UserError

# Columns of a source manifest beside `path` and `url`, and what their values are.
TEXTS = ("video_id", "case_id", "source", "licence")
NUMBERS = ("fps", "t_start", "t_end")
LABEL_COLUMNS = (*TEXTS, "procedure", "procedures", "robotic", "frame", *NUMBERS)

_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Labels:
    """Labels of one file. What is empty or None is not said, and the settings of the run say it for all files."""

    video_id: str = ""
    case_id: str = ""  # patient or operation
    source: str = ""  # data set or site
    procedure: str = ""  # several joined by ";"
    robotic: bool | None = None
    licence: str = ""
    frame: int | None = None  # number of a still in its video
    fps: float | None = None  # stills: native rate that their numbers count at
    t_start: float | None = None  # seconds from the first frame; only this part of the video is taken
    t_end: float | None = None  # seconds, itself not taken, so that parts can follow each other

    @property
    def part(self) -> tuple[float, float] | None:
        """First and last second of the wanted part of a video; `None` for all of it."""
        if self.t_start is None and self.t_end is None:
            return None
        return self.t_start or 0.0, math.inf if self.t_end is None else self.t_end

    @property
    def of_the_video(self) -> tuple[Any, ...]:
        """The labels that all stills of one video share."""
        return self.case_id, self.source, self.procedure, self.robotic, self.licence, self.fps


UNLABELED: Labels = Labels()


def resolve_labels(labels: Labels, settings: CurationSettings, input_name: str) -> Labels:
    """The labels of a file with those of the run where it has none of its own."""
    return replace(
        labels,
        source=labels.source or settings.source or input_name,
        procedure=labels.procedure or settings.procedure,
        robotic=settings.robotic if labels.robotic is None else labels.robotic,
        licence=labels.licence or settings.licence,
    )


def read_labels(row: Mapping[str, Any], where: str) -> Labels:
    """The labels in a row.

    Args:
        row: column -> value; text as a CSV file has it, or typed values as JSON and Parquet have them. Empty text, NaN
            and None say nothing; columns other than `LABEL_COLUMNS` are passed over.
        where: file and row, for messages.

    Raises:
        UserError: a value of the wrong type or outside its range.
    """
    values = {name: None if _is_empty(row.get(name)) else row[name] for name in LABEL_COLUMNS}
    if values["procedure"] is not None and values["procedures"] is not None:
        raise UserError(f"{where}: both 'procedure' and 'procedures' are filled: use one of them")
    name = "procedure" if values["procedure"] is not None else "procedures"
    texts: dict[str, Any] = {column: _text(values[column], f"{where}, column {column!r}") for column in TEXTS}
    numbers: dict[str, Any] = {column: _number(values[column], f"{where}, column {column!r}") for column in NUMBERS}
    start, end = numbers["t_start"] or 0.0, numbers["t_end"]
    if end is not None and end <= start:
        raise UserError(f"{where}: t_end={end:g} is not after t_start={start:g}")
    if numbers["fps"] == 0:
        raise UserError(f"{where}, column 'fps': 0 is no frame rate")
    return Labels(
        **texts,
        **numbers,
        procedure=_procedure(values[name], f"{where}, column {name!r}"),
        robotic=_boolean(values["robotic"], f"{where}, column 'robotic'"),
        frame=_frame(values["frame"], f"{where}, column 'frame'"),
    )


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip()) or (value != value)  # NaN


def _text(value: Any, where: str) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # ids are often plain numbers
    if not isinstance(value, str):
        raise UserError(f"{where}: {value!r} is not text")
    return value.strip()


def _procedure(value: Any, where: str) -> str:
    if value is None:
        return ""
    names = value.split(";") if isinstance(value, str) else value
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{where}: {value!r} is neither text (several names joined by ';') nor a list of texts")
    return ";".join(name.strip() for name in names if name.strip())


def _boolean(value: Any, where: str) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _BOOLEANS:
        return _BOOLEANS[value.strip().lower()]
    raise UserError(f"{where}: {value!r} is not true or false")


def _number(value: Any, where: str) -> float | None:
    if value is None:
        return None
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not (math.isfinite(number) and number >= 0):
        raise UserError(f"{where}: {value!r} is not a number from 0 up")
    return number


def _frame(value: Any, where: str) -> int | None:
    number = _number(value, where)
    if number is None:
        return None
    if number != int(number) or number >= 1e15:
        raise UserError(f"{where}: {value!r} is not a frame number")
    return int(number)

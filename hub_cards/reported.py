"""Results that others reported for tasks of the card: from a shipped table, with the source of every row."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from evaluation.tasks import TASKS
from hub_cards.run_records import lookup

FILE = Path(__file__).with_name("reported.yaml")
CHECKED = ("from its authors", "second hand")  # whether the figure was read where its authors publish it


@dataclass(frozen=True)
class Reported:
    """One figure of others, as written there.

    Attributes:
        task: of the benchmark here whose data set and labels it is about; protocol and split may differ.
        model: that was measured.
        metric: by the name it has there.
        value: as written, with its spread where one is given.
        protocol: how it was measured, as far as the source says.
        source: where it is from.
        checked: "from its authors", or "second hand" where only a quotation was read.
    """

    task: str
    model: str
    metric: str
    value: str
    protocol: str
    source: str
    checked: str


def read_reported(path: Path = FILE) -> list[Reported]:
    """All rows of the table.

    Raises:
        ValueError: a row of an unknown task, or without a protocol, source or one of `CHECKED`: the file is ours.
    """
    rows = []
    for group in yaml.safe_load(path.read_text(encoding="utf-8")):
        shared = {key: str(lookup(group, (key,), path.name)) for key in ("source", "protocol", "checked")}
        for row in lookup(group, ("rows",), path.name):
            rows.append(_row(row, shared))
    return rows


def reported_for(tasks: Iterable[str], rows: Iterable[Reported]) -> list[Reported]:
    """Rows about the tasks of a card (`TASK@SPLIT` is its task), in the order of the tasks."""
    names = list(dict.fromkeys(task.partition("@")[0] for task in tasks))
    return sorted((row for row in rows if row.task in names), key=lambda row: names.index(row.task))


def _row(row: dict[str, Any], shared: dict[str, str]) -> Reported:
    made = Reported(**{**shared, **{key: str(value) for key, value in row.items()}})
    if made.task not in TASKS:
        raise ValueError(f"{FILE.name} has a row of the unknown task {made.task!r}")
    if made.checked not in CHECKED or not made.source or not made.protocol:
        raise ValueError(f"{FILE.name}: the row {made.model!r} of {made.task} lacks a source, a protocol or {CHECKED}")
    return made

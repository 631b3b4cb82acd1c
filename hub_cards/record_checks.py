"""Whether the records of a results file agree with each other: a figure changed by hand contradicts its neighbours."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from evaluation.records import ResultRecord
from evaluation.reporting.scores import FLOORS
from training.errors import UserError

_ROUNDING = 1e-6  # of differences of values near 1 in float64, and of files that keep fewer digits


def check_records(path: Path, records: Sequence[ResultRecord]) -> None:
    """Compare every record with those of the same table.

    Args:
        path: of the results file, for messages.
        records: all of its records, in their order.

    Raises:
        UserError: naming the first record with a number that is not finite, another measurement of what an earlier one
            measured, a difference that is not that of the values, or floors that are not those measured.
    """
    first: dict[tuple[str, ...], int] = {}
    students = {_table(record): record for record in records if record.model_role == "student"}
    for number, record in enumerate(records, start=1):
        where = f"record {number} of {str(path)!r} ({record.task}, {record.model})"
        _refuse_infinite(record, where)
        earlier = first.setdefault((record.student_sha256, *record.key), number)
        if _measured(record) != _measured(records[earlier - 1]):
            raise UserError(f"{where} measures what record {earlier} does, with other figures: keep one of them")
        if student := students.get(_table(record)):
            _compare(record, student, where)


def _table(record: ResultRecord) -> tuple[str, ...]:
    """What records share that were measured beside each other."""
    shots = asdict(record.shots) if record.shots else None
    place = json.dumps([shots, record.seeds, dict(record.settings)], sort_keys=True)
    return (record.student_sha256, record.task, record.metric, record.variant, record.protocol, record.probe, place)


def _measured(record: ResultRecord) -> tuple[object, ...]:
    return record.value, record.interval, dict(record.per_case), record.paired, record.floors


def _refuse_infinite(record: ResultRecord, where: str) -> None:
    """`UserError` for NaN and infinities, which JSON may hold although the benchmark writes none."""
    numbers = [record.value, *record.per_case.values(), *(record.interval or ())]
    if record.paired is not None:
        numbers += [record.paired.difference, *(record.paired.interval or ())]
    for number in numbers:
        if number is not None and not math.isfinite(number):
            raise UserError(f"{where} holds the figure {number}; measure it again")


def _compare(record: ResultRecord, student: ResultRecord, where: str) -> None:
    gap = None if record.paired is None else record.paired.difference
    if gap is not None and student.value is not None and record.value is not None:
        own = student.value - record.value
        if abs(own - gap) > _ROUNDING:
            raise UserError(
                f"{where} states the difference {gap:.4f} to the student, but the values differ by {own:.4f}: one of "
                "them was changed; measure again"
            )
    if record.model_role in FLOORS:
        stated = getattr(student.floors, record.model_role)
        if (stated is None) != (record.value is None) or abs((stated or 0) - (record.value or 0)) > _ROUNDING:
            raise UserError(
                f"{where} has the value {record.value}, but beside the student stands {stated} for it: one of them was "
                "changed; measure again"
            )

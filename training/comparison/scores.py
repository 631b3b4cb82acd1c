"""Scores of all students of a comparison and of their floors, from the records of the benchmark."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from training.comparison.runs import Finished
from training.errors import UserError

SCHEMA_VERSION = 2  # of the records
FLOORS = ("random_init", "histogram", "majority", "teacher")  # roles, in the order of the table


@dataclass(frozen=True)
class Measure:
    """One number that the benchmark measures of every model."""

    task: str
    probe: str
    metric: str
    variant: str

    @property
    def what(self) -> str:
        """Metric and the first words of its variant: what tells it from the others of its task and probe."""
        return f"{self.metric} ({self.variant.partition(',')[0]})"

    def __str__(self) -> str:
        return f"{self.task}, {self.probe}: {self.what}"


@dataclass(frozen=True)
class Score:
    """A measure of one model.

    Attributes:
        values: one per seed; a floor has one.
        low, high: means over the seeds of the ends of their 95 % bootstrap intervals over test cases; `None` where a
            single case leaves none. They say nothing about the seeds, `values` does.
    """

    values: tuple[float, ...]
    low: float | None
    high: float | None

    @property
    def value(self) -> float:
        """Mean over seeds."""
        return fmean(self.values)


Scores = dict[Measure, dict[str, Score]]  # by measure, then by the name of the model


def read_scores(finished: Sequence[Finished]) -> Scores:
    """Scores by measure and model: recipes in their order, then the floors.

    A floor that does not hang on the student, such as a teacher, is measured beside every student and is the same each
    time; those that do (students of two sizes have two random inits) are told apart by the recipe.

    Raises:
        UserError: records of another schema.
    """
    rows: dict[Measure, dict[tuple[int, str], list[tuple[str, dict[str, Any]]]]] = {}
    for each in finished:
        for record in _records(each.records):
            measure = Measure(*(str(record[key]) for key in ("task", "probe", "metric", "variant")))
            role = record["model_role"]
            key = (0, each.run.recipe) if role == "student" else (1 + FLOORS.index(role), str(record["model"]))
            rows.setdefault(measure, {}).setdefault(key, []).append((each.run.recipe, record))
    scores: Scores = {}
    for measure, models in rows.items():
        scores[measure] = {}
        for (place, name), found in sorted(models.items(), key=lambda item: item[0][0]):  # stable: recipes in order
            scores[measure] |= {name: _score([r for _, r in found])} if place == 0 else _floors(name, found)
    return scores


def _floors(name: str, found: Sequence[tuple[str, dict[str, Any]]]) -> dict[str, Score]:
    """A floor once for each of its weights."""
    by_weights: dict[str, tuple[str, dict[str, Any]]] = {}
    for recipe, record in found:
        by_weights.setdefault(record["backbone"]["weights_sha256"], (recipe, record))
    if len(by_weights) == 1:
        return {name: _score([record for _, record in by_weights.values()])}
    return {f"{name} ({recipe})": _score([record]) for recipe, record in by_weights.values()}


def _score(records: Sequence[dict[str, Any]]) -> Score:
    intervals = [record["interval"] for record in records]
    values = tuple(float(record["value"]) for record in records)
    if any(interval is None for interval in intervals):
        return Score(values, None, None)
    low, high = (fmean(interval[end] for interval in intervals) for end in (0, 1))
    return Score(values, low, high)


def _records(path: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    other = {record["schema_version"] for record in records} - {SCHEMA_VERSION}
    if other:
        raise UserError(
            f"records {str(path)!r} are of schema {min(other)}, this program reads {SCHEMA_VERSION}: remove that file, "
            "then they are measured again"
        )
    return records

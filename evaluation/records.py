"""Result records: one JSON object a line, validated on the way in and out, appended so that lines stay whole."""

import dataclasses
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from evaluation.backbones import Identity, Role
from evaluation.protocols import Chosen
from training.errors import UserError

SCHEMA_VERSION = 2

Interval = tuple[float, float]


@dataclass(frozen=True)
class Split:
    """Cases of each side and where the split comes from. The sides are disjoint."""

    train_cases: tuple[str, ...]
    test_cases: tuple[str, ...]
    source: str
    val_cases: tuple[str, ...] = ()
    name: str = "default"

    def __post_init__(self) -> None:
        shared = sorted(set(self.test_cases) & {*self.train_cases, *self.val_cases})
        if shared:
            raise ValueError(f"case {shared[0]!r} is on both sides of the split")
        if not self.test_cases:
            raise ValueError("the split has no test case")


@dataclass(frozen=True)
class Paired:
    """The student against this model on the same resampled cases. Positive means the student is better."""

    against: Literal["student"]
    against_sha256: str
    difference: float | None
    interval: Interval | None
    definition: Literal["student minus this model"] = "student minus this model"


@dataclass(frozen=True)
class Shots:
    """Which few labels a few-shot record was fitted on: subset number `subset` of `count` training cases or images."""

    count: int
    unit: Literal["cases", "images per class"]
    subset: int


@dataclass(frozen=True)
class Floors:
    """What the same protocol reaches without having learned anything, measured in the same run; None: undefined."""

    majority: float | None
    random_init: float | None
    histogram: float | None


@dataclass(frozen=True)
class ResultRecord:
    """One measured number and everything needed to trust it. `variant` says which of a metric's definitions was used.

    `value` and floors are None where the metric is undefined (rank correlation of a constant), as its card says.
    `interval` is the 95 % bootstrap interval over test cases (None with a single one), `per_case` the metric on each
    case alone (None where undefined). Hyper-parameters carry where they were chosen; test cases are no possible answer.
    A model has as many records in a table as there are `measures`; if some are missing it is measured again.
    `primary` marks the measure that a task is ranked by. `shots` is None where all training cases were used.
    `predictions` names a file beside the results file (`evaluation.predictions`), None for tasks that keep none.
    `pretraining_overlap` counts test files that were in the pretraining corpus; None means that it was not checked.
    """

    model: str
    model_role: Role
    backbone: Identity
    task: str
    dataset: str
    split: Split
    protocol: str
    probe: str
    shots: Shots | None
    metric: str
    variant: str
    primary: bool
    higher_is_better: bool
    value: float | None
    per_case: Mapping[str, float | None]
    interval: Interval | None
    paired: Paired | None
    hyperparameters: Chosen
    seeds: tuple[int, ...]
    floors: Floors
    settings: Mapping[str, Any]
    details: Mapping[str, Any]
    predictions: str | None
    pretraining_overlap: int | None
    package_versions: Mapping[str, str]
    device: str
    seconds: float
    created: str
    measures: int = 1
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise ValueError(
                f"schema_version is {self.schema_version!r}, this program writes and reads {SCHEMA_VERSION}"
            )
        if self.model_role not in get_args(Role):
            raise ValueError(f"model_role is {self.model_role!r}; possible are {', '.join(get_args(Role))}")
        if (self.model_role == "student") != (self.paired is None):
            raise ValueError("every record but the student's carries 'paired'")
        if set(self.per_case) != set(self.split.test_cases):
            raise ValueError("per_case must name exactly the test cases of the split")
        for noun, value in {"value": self.value, **dataclasses.asdict(self.floors)}.items():
            if value is not None and not math.isfinite(value):
                raise ValueError(f"{noun} is {value}")
        for bounds in (self.interval, self.paired.interval if self.paired else None):
            if bounds is not None and not bounds[0] <= bounds[1]:
                raise ValueError(f"interval {bounds} is not of the form (low, high)")

    @property
    def key(self) -> tuple[str, ...]:
        """What makes a record the same measurement: a run does not repeat a record whose key is already in the file."""
        return (
            self.task,
            self.metric,
            self.variant,
            self.protocol,
            self.probe,
            json.dumps(dataclasses.astuple(self.shots)) if self.shots else "",
            self.model_role,
            self.backbone.weights_sha256,
            self.backbone.preprocessing_sha256,
            json.dumps([list(self.seeds), dict(self.settings)], sort_keys=True),
        )

    @property
    def student_sha256(self) -> str:
        """Weights of the student this record is compared with (of itself, for a student)."""
        return self.paired.against_sha256 if self.paired else self.backbone.weights_sha256

    def to_line(self) -> str:
        """One line of JSON, with the newline."""
        return json.dumps(dataclasses.asdict(self), allow_nan=False) + "\n"

    @classmethod
    def from_dict(cls, content: Any) -> "ResultRecord":
        """From decoded JSON.

        Raises:
            ValueError: another schema, a missing or unknown key, a value the schema does not allow.
        """
        fields = dict(_object(cls, content))
        fields["backbone"] = Identity(**_object(Identity, fields["backbone"]))
        split = _object(Split, fields["split"])
        cases = {f"{side}_cases": tuple(split[f"{side}_cases"]) for side in ("train", "val", "test")}
        fields["split"] = Split(**{**split, **cases})
        fields["shots"] = None if fields["shots"] is None else Shots(**_object(Shots, fields["shots"]))
        fields["floors"] = Floors(**_object(Floors, fields["floors"]))
        fields["hyperparameters"] = Chosen(**_object(Chosen, fields["hyperparameters"]))
        fields["interval"] = _interval(fields["interval"])
        if fields["paired"] is not None:
            paired = _object(Paired, fields["paired"])
            fields["paired"] = Paired(**{**paired, "interval": _interval(paired["interval"])})
        fields["seeds"] = tuple(fields["seeds"])
        return cls(**fields)


def _object(schema: type, content: Any) -> dict[str, Any]:
    """`content` as a dictionary with exactly the fields of `schema`."""
    if not isinstance(content, dict):
        raise ValueError(f"{schema.__name__} is a {type(content).__name__}, not an object")
    names = {field.name for field in dataclasses.fields(schema)}
    if schema is ResultRecord and content.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(f"schema_version is {content.get('schema_version')!r}, not {SCHEMA_VERSION}")
    for noun, keys in (("lacks", names - content.keys()), ("has the unknown key", content.keys() - names)):
        if keys:
            raise ValueError(f"{schema.__name__} {noun} {', '.join(repr(key) for key in sorted(keys))}")
    return content


def _interval(value: Any) -> Interval | None:
    if value is None:
        return None
    low, high = value
    return float(low), float(high)


def read_records(path: Path) -> list[ResultRecord]:
    """All records of a results file; none if there is no file.

    Raises:
        UserError: a line that is no record of this schema, by number.
    """
    if not path.exists():
        return []
    if not path.is_file():
        raise UserError(f"results file {str(path)!r} is a folder")
    records = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"results file {str(path)!r} is not text; choose another --output") from error
    for number, line in enumerate(lines, start=1):
        try:
            records.append(ResultRecord.from_dict(json.loads(line)))
        except (ValueError, TypeError, AttributeError) as error:
            raise UserError(
                f"line {number} of results file {str(path)!r} is no result record of schema {SCHEMA_VERSION} "
                f"({error}); remove it or choose another file"
            ) from error
    return records


def append_records(path: Path, records: Iterable[ResultRecord]) -> None:
    """Append to the results file by one write to an append-only handle, then force it to disk.

    Records of one call are there together or not at all, whatever other processes append.
    """
    lines = "".join(record.to_line() for record in records).encode()
    if not lines:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        if os.write(handle, lines) != len(lines):
            raise OSError(f"results file {str(path)!r}: the disk took only part of the records")
        os.fsync(handle)
    finally:
        os.close(handle)

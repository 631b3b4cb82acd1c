"""Records put in order: tasks, and in each the scores of models under conditions, seeds and subsets together."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from evaluation.backbones import Role
from evaluation.records import ResultRecord
from evaluation.reporting.results import Found
from evaluation.table import ROLE_ORDER

FLOOR_ROLES = ("random_init", "histogram", "majority")
FLOORS = ("majority", "random_init", "histogram")  # fields of `records.Floors`, in the order they are shown
_SINGULAR = {"cases": "case", "images per class": "image per class"}  # of the units of `records.Shots`
HASH_DIGITS = 6  # of the weights, in labels of models that share a name


@dataclass(frozen=True)
class Model:
    """Who was measured. `label` is unlike that of any other model of the report."""

    label: str
    role: Role
    weights_sha256: str
    preprocessing_sha256: str

    @property
    def is_floor(self) -> bool:
        """Whether it has learned nothing."""
        return self.role in FLOOR_ROLES


@dataclass(frozen=True)
class Condition:
    """How it was measured; `count` labeled units in few-shot conditions, else `None`."""

    protocol: str
    probe: str
    count: int | None = None
    unit: str = ""

    @property
    def labels(self) -> str:
        """How many labels were used."""
        if self.count is None:
            return "all"
        return f"{self.count} {self.unit}" if self.count > 1 else f"1 {_SINGULAR[self.unit]}"

    def __str__(self) -> str:
        return f"{self.protocol}, {self.probe}" + ("" if self.count is None else f", {self.labels}")


@dataclass(frozen=True)
class Measure:
    """One of the numbers of a task."""

    metric: str
    variant: str
    primary: bool
    higher_is_better: bool


Run = tuple[tuple[int, ...], int | None]  # seeds, and the subset of a few-shot record


@dataclass(frozen=True)
class Score:
    """A measure of one model under one condition: the record of each seed and subset, in ascending order."""

    model: Model
    condition: Condition
    measure: Measure
    runs: dict[Run, Found]

    @property
    def records(self) -> list[ResultRecord]:
        """The records of the runs."""
        return [found.record for found in self.runs.values()]

    @property
    def values(self) -> list[float]:
        """Of the runs in which it is defined."""
        return [record.value for record in self.records if record.value is not None]

    @property
    def mean(self) -> float | None:
        """Over the runs in which it is defined; `None` if there is none."""
        return fmean(self.values) if self.values else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation over runs (of a sample, n - 1); `None` for fewer than two."""
        return stdev(self.values) if len(self.values) > 1 else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """By cases, of a single run; several have an interval each."""
        return self.records[0].interval if len(self.runs) == 1 else None

    @property
    def spread_over(self) -> str:
        """What the runs differ in: "5 subsets", "3 seeds", "5 subsets x 2 seeds"; "" for a single run."""
        if len(self.runs) == 1:
            return ""
        seeds, subsets = ({run[part] for run in self.runs} for part in (0, 1))
        parts = [f"{len(s)} {noun}" for s, noun in ((subsets, "subsets"), (seeds, "seeds")) if len(s) > 1]
        return " x ".join(parts)

    def floor(self, name: str) -> float | None:
        """Mean over runs of one of `FLOORS`; `None` where undefined."""
        values = [getattr(record.floors, name) for record in self.records]
        defined = [value for value in values if value is not None]
        return fmean(defined) if defined else None


@dataclass(frozen=True)
class TaskScores:
    """All scores of one task on one split.

    Attributes:
        title: name of the task, with its split where the report has several.
        scores: by condition as they first appear (few-shot ones by their count), model (the student first) and measure
            (the primary ones first).
        repeated: records of a model beside one that was kept for the same score and run, with another value.
    """

    title: str
    task: str
    dataset: str
    split_name: str
    split_source: str
    test_cases: tuple[str, ...]
    scores: tuple[Score, ...]
    repeated: tuple[tuple[Found, Found], ...]

    @property
    def measures(self) -> list[Measure]:
        """The primary ones first."""
        return sorted(dict.fromkeys(score.measure for score in self.scores), key=lambda measure: not measure.primary)

    @property
    def conditions(self) -> list[Condition]:
        """In the order of the scores."""
        return list(dict.fromkeys(score.condition for score in self.scores))

    @property
    def protocols(self) -> list[str]:
        """In the order of the scores."""
        return list(dict.fromkeys(score.condition.protocol for score in self.scores))

    def pick(self, condition: Condition | None = None, measure: Measure | None = None) -> list[Score]:
        """The scores under one condition, of one measure, or both."""
        return [
            score for score in self.scores if condition in (None, score.condition) and measure in (None, score.measure)
        ]


def group_scores(found: Sequence[Found]) -> list[TaskScores]:
    """Tasks as they first appear; the same task on other splits or test cases is another one."""
    models = _label_models(each.record for each in found)
    groups: dict[tuple[object, ...], list[Found]] = {}
    for each in found:
        record = each.record
        place = (record.task, record.dataset, record.split.name, tuple(sorted(record.split.test_cases)))
        groups.setdefault(place, []).append(each)
    splits = Counter(task for task, *_ in groups)
    titles: Counter[str] = Counter()
    tasks = []
    for members in groups.values():
        record = members[0].record
        title = record.task
        if splits[record.task] > 1:
            title = f"{record.task} ({record.split.name} split, {len(record.split.test_cases)} test cases)"
            titles[title] += 1
            title += f", group {titles[title]}" if titles[title] > 1 else ""
        tasks.append(_task(title, members, models))
    return tasks


def _task(title: str, members: Sequence[Found], models: dict[tuple[str, ...], Model]) -> TaskScores:
    collected: dict[tuple[Condition, Model, Measure], dict[Run, Found]] = {}
    repeated = []
    for each in members:
        record = each.record
        shots = record.shots
        condition = Condition(record.protocol, record.probe, *((shots.count, shots.unit) if shots else ()))
        measure = Measure(record.metric, record.variant, record.primary, record.higher_is_better)
        runs = collected.setdefault((condition, models[_identity(record)], measure), {})
        kept = runs.setdefault((record.seeds, shots.subset if shots else None), each)
        if kept.record.value != record.value:
            repeated.append((kept, each))
    scores = [
        Score(model, condition, measure, _sorted(runs)) for (condition, model, measure), runs in collected.items()
    ]
    places = {key: place for place, key in enumerate(dict.fromkeys(_family(score.condition) for score in scores))}
    scores.sort(
        key=lambda s: (
            places[_family(s.condition)],
            s.condition.count or 0,
            ROLE_ORDER.index(s.model.role),
            not s.measure.primary,
        )
    )
    first = members[0].record
    return TaskScores(
        title,
        first.task,
        first.dataset,
        first.split.name,
        first.split.source,
        tuple(sorted(first.split.test_cases)),
        tuple(scores),
        tuple(repeated),
    )


def _family(condition: Condition) -> tuple[str, str, str]:
    return condition.protocol, condition.probe, condition.unit


def _sorted(runs: dict[Run, Found]) -> dict[Run, Found]:
    return dict(sorted(runs.items(), key=lambda item: (item[0][0], -1 if item[0][1] is None else item[0][1])))


def _identity(record: ResultRecord) -> tuple[str, ...]:
    return record.model, record.backbone.weights_sha256, record.backbone.preprocessing_sha256


def _label_models(records: Iterable[ResultRecord]) -> dict[tuple[str, ...], Model]:
    """Models by name and hashes; those that share a name are told apart by their weights, then by their number."""
    firsts: dict[tuple[str, ...], ResultRecord] = {}
    for record in records:
        firsts.setdefault(_identity(record), record)
    names = Counter(name for name, *_ in firsts)
    labels: dict[tuple[str, ...], str] = {}
    for identity in firsts:
        name, weights, _ = identity
        label = name if names[name] == 1 else f"{name} ({weights[:HASH_DIGITS]})"
        taken = sum(other == label or other.startswith(f"{label} #") for other in labels.values())
        labels[identity] = f"{label} #{taken + 1}" if taken else label
    return {identity: Model(labels[identity], record.model_role, *identity[1:]) for identity, record in firsts.items()}

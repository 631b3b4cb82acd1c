"""Result records of one model as the tables and findings of its card; records of other weights are refused."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from evaluation.records import Interval, read_records
from evaluation.reporting.results import read_results as read_files
from evaluation.reporting.scores import Condition, Measure, Model, Score, TaskScores, group_scores
from evaluation.skips import Skip
from hub_cards.record_checks import check_records
from training.errors import UserError


@dataclass(frozen=True)
class CardResults:
    """What a results file says of one model: tasks as they first appear, and what was asked for and not measured."""

    tasks: tuple[TaskScores, ...]
    skips: tuple[Skip, ...]


@dataclass(frozen=True)
class ResultTable:
    """One primary measure of a task by one protocol and probe.

    Attributes:
        measure: of all its scores.
        conditions: the columns: one where all training labels were used, else one per number of labels.
        models: the rows, the student first.
        scores: (rows, columns); `None` where a model was not measured.
        others: the student's other measures under the same condition; empty with several columns.
    """

    measure: Measure
    conditions: tuple[Condition, ...]
    models: tuple[Model, ...]
    scores: tuple[tuple[Score | None, ...], ...]
    others: tuple[Score, ...]

    @property
    def student(self) -> list[Score]:
        """The student's scores, a column each."""
        return [score for score in self.scores[0] if score is not None]

    @property
    def is_few_shot(self) -> bool:
        """Whether its columns are numbers of labels."""
        return self.conditions[0].count is not None

    @property
    def spread(self) -> str:
        """What the runs behind every value differ in, where it is the same for all; else "" and each cell says it."""
        found = {score.spread_over for row in self.scores for score in row if score is not None}
        return found.pop() if len(found) == 1 else ""

    @property
    def trained_parameters(self) -> int | None:
        """How many numbers of the student and its head were trained, where the records say it."""
        counts = {record.details.get("trainable_parameters") for score in self.student for record in score.records}
        return counts.pop() if len(counts) == 1 else None

    @property
    def chosen(self) -> list[str]:
        """Where the student's hyper-parameters were chosen and by what, each once."""
        used = [record.hyperparameters for score in self.student for record in score.records]
        return list(dict.fromkeys(f"{each.chosen_on} ({each.criterion})" for each in used))


def read_results(path: Path, weights_sha256: str) -> CardResults:
    """What the card shows of a results file: records of the model whose weights have this hash.

    Raises:
        UserError: the file is missing, empty or broken, a record is about another student's weights or contradicts
            another, a condition has no record of the student, or a model was measured twice with other values.
    """
    results = read_files([path])
    check_records(path, read_records(path))
    for number, found in enumerate(results.found, start=1):
        record = found.record
        if record.student_sha256 != weights_sha256:
            raise UserError(
                f"record {number} of {str(path)!r} ({record.task}) is about weights {record.student_sha256[:12]}, but "
                f"this run's model has {weights_sha256[:12]}; give a results file of this model only"
            )
    tasks = tuple(group_scores(results.found))
    for task in tasks:
        if task.repeated:
            record = task.repeated[0][0].record
            raise UserError(
                f"{str(path)!r}: task {record.task} ({record.protocol}, {record.probe} probe) has two records of "
                f"{record.model!r} with other values, measured with other settings; keep one of them"
            )
        for condition in task.conditions:
            if all(score.model.role != "student" for score in task.pick(condition)):
                raise UserError(f"{str(path)!r}: task {task.title} ({condition}) has no record of the student")
    return CardResults(tasks, results.skips)


def result_tables(task: TaskScores) -> list[ResultTable]:
    """Tables of the primary measures of a task; one where the student's own value is undefined throughout is left out.

    Few-shot conditions that differ in the number of labels only share a table.
    """
    groups: dict[tuple[Measure, str, str, str], list[Condition]] = {}
    for condition in task.conditions:
        for measure in task.measures:
            if measure.primary and task.pick(condition, measure):
                groups.setdefault((measure, condition.protocol, condition.probe, condition.unit), []).append(condition)
    tables = [_table(task, measure, conditions) for (measure, *_), conditions in groups.items()]
    return [table for table in tables if any(score.values for score in table.student)]


def _table(task: TaskScores, measure: Measure, conditions: Sequence[Condition]) -> ResultTable:
    scores = {(each.model, each.condition): each for condition in conditions for each in task.pick(condition, measure)}
    models = tuple(dict.fromkeys(model for model, _ in scores))
    return ResultTable(
        measure,
        tuple(conditions),
        models,
        tuple(tuple(scores.get((model, condition)) for condition in conditions) for model in models),
        tuple(
            score
            for score in task.pick(conditions[0])
            if len(conditions) == 1 and score.model == models[0] and not score.measure.primary
        ),
    )


def difference(score: Score) -> float | None:
    """Student minus this model, the mean over runs in which it is defined; `None` for the student itself."""
    gaps = [record.paired.difference for record in score.records if record.paired is not None]
    defined = [gap for gap in gaps if gap is not None]
    return fmean(defined) if defined else None


def bounds(score: Score) -> Interval | None:
    """The interval of a score over cases; of several runs what all their intervals lie in. `None` if one has none."""
    return _hull([record.interval for record in score.records])


def difference_bounds(score: Score) -> Interval | None:
    """As `bounds`, of student minus this model; `None` for the student itself."""
    return _hull([record.paired.interval if record.paired else None for record in score.records])


def verdict(score: Score) -> str | None:
    """Is the student better than this model ("up"), worse ("down"), or is no difference shown ("even")?

    By the paired intervals over cases, which all runs must agree on; `None` where one has no interval.
    """
    found = difference_bounds(score)
    if found is None:
        return None
    if found[0] <= 0 <= found[1]:
        return "even"
    return "up" if (found[0] > 0) == score.measure.higher_is_better else "down"


def _hull(intervals: Sequence[Interval | None]) -> Interval | None:
    known = [interval for interval in intervals if interval is not None]
    if not known or len(known) != len(intervals):
        return None
    return min(low for low, _ in known), max(high for _, high in known)


def comparisons(tasks: Sequence[TaskScores]) -> list[str]:
    """Where the student is not clearly ahead of a floor, or is clearly behind another model: a sentence each.

    "No difference from majority is shown in 3 of 4 comparisons: phase_x (frozen, knn; few_shot, linear with 1 case,
    2 cases)."
    """
    places: dict[str, dict[str, dict[str, list[str]]]] = {}
    asked: Counter[str] = Counter()  # comparisons with each model, by label
    found: Counter[str] = Counter()
    owner: dict[str, str] = {}
    for task in tasks:
        tables = result_tables(task)
        variants = {table.measure.variant for table in tables}
        for table in tables:
            variant = f", {table.measure.variant}" if len(variants) > 1 else ""
            for score in (score for row in table.scores[1:] for score in row if score is not None):
                asked[score.model.label] += 1
                finding = judge(score)
                if finding is None:
                    continue
                found[finding] += 1
                owner[finding] = score.model.label
                way = f"{score.condition.protocol}, {score.condition.probe}{variant}"
                labels = [] if score.condition.count is None else [score.condition.labels]
                places.setdefault(finding, {}).setdefault(task.title, {}).setdefault(way, []).extend(labels)
    return [
        f"{finding} in {found[finding]} of {asked[owner[finding]]} comparisons: {_listed(own)}."
        for finding, own in places.items()
    ]


def outside_intervals(tasks: Sequence[TaskScores]) -> list[str]:
    """Values that their own interval over cases does not hold, as one sentence: few cases, or an odd measure."""
    places = [
        f"{task.title} ({score.condition}, {score.measure.metric} of {score.model.label})"
        for task in tasks
        for score in task.scores
        if any(
            record.interval
            and record.value is not None
            and not record.interval[0] <= record.value <= record.interval[1]
            for record in score.records
        )
    ]
    return [f"The value lies outside of its own interval over cases in: {'; '.join(places)}."] if places else []


def _listed(places: dict[str, dict[str, list[str]]]) -> str:
    """Tasks with their conditions in brackets, the numbers of labels of one protocol and probe together."""
    tasks = []
    for task, ways in places.items():
        conditions = [f"{way} with {', '.join(labels)}" if labels else way for way, labels in ways.items()]
        tasks.append(f"{task} ({'; '.join(conditions)})")
    return "; ".join(tasks)


def judge(score: Score) -> str | None:
    """What is to be said where the student is not clearly ahead of a floor, or clearly behind another model."""
    name = score.model.label
    direction = verdict(score)
    if direction is None:
        return f"No interval (a single test case, or an undefined value), so nothing is shown against {name}"
    if direction == "up":
        return None
    if not score.model.is_floor:
        return f"The {score.model.role} {name} is better" if direction == "down" else None
    return f"No difference from {name} is shown" if direction == "even" else f"Worse than {name}"

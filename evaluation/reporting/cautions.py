"""What a reader must know before the numbers, a sentence each."""

from collections.abc import Sequence

from evaluation.reporting.scores import TaskScores

FEW_CASES = 10  # below, a bootstrap over cases has too few different resamples to be taken at its word
WIDE = 0.5  # an interval this wide, as a share of the value itself, says little more than the order of size
MOST_NAMED = 6  # scores named in one sentence; their intervals stand in the tables anyway
_NO_SETTINGS = ("student_sha256",)  # in settings, but of no other model's concern


def cautions(tasks: Sequence[TaskScores], problems: Sequence[str]) -> list[str]:
    """Overlap with pretraining, few cases, wide intervals, undefined and repeated values, settings that differ.

    Args:
        tasks: of the report.
        problems: sentences about predictions that could not be used.
    """
    overlaps = {task.title: _overlap(task) for task in tasks}
    sentences = [
        f"{title}: {count} test files were in the pretraining corpus; the student's value is not a held-out result."
        for title, count in overlaps.items()
        if count
    ]
    unchecked = [title for title, count in overlaps.items() if count is None]
    if unchecked:
        sentences.append(f"Whether test files were in the pretraining corpus was not checked: {', '.join(unchecked)}.")
    few = [f"{task.title} {len(task.test_cases)}" for task in tasks if len(task.test_cases) < FEW_CASES]
    if few:
        sentences.append(
            f"Few test cases ({', '.join(few)}): an interval over so few says little about other hospitals, teams or "
            "devices."
        )
    wide = {task.title: _wide(task) for task in tasks}
    if any(wide.values()):
        listed = "; ".join(f"{title}: {_some(labels)}" for title, labels in wide.items() if labels)
        sentences.append(f"Intervals at least {WIDE:g} times as wide as the value of the primary measure: {listed}.")
    for task in tasks:
        sentences += [*_undefined(task), *_repeated(task), *_other_settings(task)]
    return [*sentences, *(f"{problem[0].upper()}{problem[1:]}." for problem in problems)]


def _some(labels: Sequence[str]) -> str:
    """The first few, and how many there are besides."""
    more = len(labels) - MOST_NAMED
    return ", ".join(labels) if more <= 0 else f"{', '.join(labels[:MOST_NAMED])} and {more} more"


def _overlap(task: TaskScores) -> int | None:
    """The largest count of a record; `None` if any student's was not checked."""
    counts = [record.pretraining_overlap for score in task.scores for record in score.records]
    students = [
        record.pretraining_overlap
        for score in task.scores
        for record in score.records
        if record.model_role == "student"
    ]
    known = max((count for count in counts if count is not None), default=0)
    return known if known or None not in students else None


def _wide(task: TaskScores) -> list[str]:
    """Models whose primary measure has a wide interval in some run."""
    labels = [
        f"{score.model.label} ({score.condition})"
        for score in task.scores
        if score.measure.primary and not score.model.is_floor
        for record in score.records
        if record.value is not None
        and record.interval is not None
        and record.interval[1] - record.interval[0] >= WIDE * abs(record.value)
    ]
    return list(dict.fromkeys(labels))


def _undefined(task: TaskScores) -> list[str]:
    found = [
        f"{score.measure.metric} of {score.model.label} ({score.condition})"
        + (f" in {missing} of {len(score.runs)} runs" if len(score.runs) > 1 else "")
        for score in task.scores
        if (missing := len(score.runs) - len(score.values)) and not score.model.is_floor
    ]
    return [f"{task.title}: undefined is {', '.join(found)}."] if found else []


def _repeated(task: TaskScores) -> list[str]:
    """Models that were measured more than once, with other values."""
    found: dict[str, int] = {}
    for kept, _ in task.repeated:
        record = kept.record
        place = f"{record.model} ({record.protocol}, {record.probe})"
        found[place] = found.get(place, 0) + 1
    return [
        f"{task.title}: {place} was measured again with other values ({count} records); the first is shown, table.csv "
        "has all."
        for place, count in found.items()
    ]


def _other_settings(task: TaskScores) -> list[str]:
    """Settings in which the records of one condition differ."""
    sentences = []
    for condition in task.conditions:
        settings = [record.settings for score in task.pick(condition) for record in score.records]
        names = sorted({name for each in settings for name in each} - set(_NO_SETTINGS))
        differing = [name for name in names if len({repr(each.get(name)) for each in settings}) > 1]
        if differing:
            sentences.append(f"{task.title}, {condition}: records differ in the settings {', '.join(differing)}.")
    return sentences

"""Results as the Hub reads them: `model-index` in the card's metadata, and files of `.eval_results/`."""

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, eval_result_entries_to_yaml

from evaluation.reporting.scores import FLOORS, Score, TaskScores
from evaluation.tasks import TASKS
from hub_cards.results import result_tables
from training.report.rendering import one_line

FOLDER = ".eval_results"
# Families of tasks as the Hub names them; a probe on a frozen backbone is still the task it solves.
_HUB_TASKS = {
    **dict.fromkeys(("presence", "triplet", "cvs", "image_classification"), "image-classification"),
    **dict.fromkeys(("phase", "step", "gesture", "motion", "skill", "procedure"), "video-classification"),
    "segmentation": "image-segmentation",
}
_NAME_LENGTH = 80  # characters of a file's name without its ending; the publishing command takes 100 in all
_HUB_TASK_OTHERWISE = "image-feature-extraction"


def model_index(tasks: Sequence[TaskScores]) -> list[EvalResult]:
    """The student's primary measures as `model-index` entries, each with protocol, interval and floors beside it."""
    entries = []
    for task, score in _student_scores(tasks):
        entries.append(
            EvalResult(
                task_type=hub_task(task.task),
                task_name=one_line(task.title),
                dataset_type=one_line(task.dataset),
                dataset_name=one_line(task.dataset),
                dataset_config=one_line(task.title),
                dataset_split="test",
                metric_type=one_line(score.measure.metric),
                metric_name=one_line(f"{score.measure.metric} ({score.measure.variant}), {score.condition}"),
                metric_value=score.mean,
                metric_args=_arguments(task, score),
            )
        )
    return entries


def metric_names(tasks: Sequence[TaskScores]) -> list[str]:
    """Of the primary measures, sorted, as metadata has them."""
    return sorted({one_line(measure.metric) for task in tasks for measure in task.measures if measure.primary})


def eval_results_files(tasks: Sequence[TaskScores], owner: str | None = None) -> dict[str, str]:
    """Files of `.eval_results/` by name: one per task, protocol, probe and number of labels.

    Args:
        tasks: of the card.
        owner: user or organization on the Hub whose data sets carry these benchmarks, as "OWNER/dataset"; without one
            the data set goes by its own name. The Hub shows an entry only where there is such a benchmark.
    """
    files: dict[str, list[EvalResultEntry]] = {}
    for task, score in _student_scores(tasks):
        name = re.sub(r"[^a-z0-9_]+", "-", f"{task.title} {score.condition}".lower()).strip("-")
        if len(name) > _NAME_LENGTH:  # cut, and still unlike any other
            name = f"{name[: _NAME_LENGTH - 9]}-{sha256(name.encode()).hexdigest()[:8]}"
        entry = EvalResultEntry(
            dataset_id=one_line(f"{owner}/{task.dataset}" if owner else task.dataset),
            task_id=one_line(task.task),
            value=score.mean,
            date=one_line(max(record.created for record in score.records)),
            notes=one_line(_notes(task, score)),
        )
        files.setdefault(f"{FOLDER}/{name}.yaml", []).append(entry)
    return {
        name: yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True, width=10_000)
        for name, entries in files.items()
    }


def _student_scores(tasks: Sequence[TaskScores]) -> list[tuple[TaskScores, Score]]:
    """The scores of the student's row in every table, where they are defined."""
    return [(task, score) for task in tasks for table in result_tables(task) for score in table.student if score.values]


def hub_task(name: str) -> str:
    """What the Hub calls a task of the benchmark, given as in records (`TASK@SPLIT`)."""
    task = name.partition("@")[0]
    return _HUB_TASKS.get(TASKS.get(task).family, _HUB_TASK_OTHERWISE) if task in TASKS else _HUB_TASK_OTHERWISE


def _arguments(task: TaskScores, score: Score) -> dict[str, Any]:
    record = score.records[0]
    facts: dict[str, Any] = {
        "protocol": one_line(score.condition.protocol),
        "probe": one_line(score.condition.probe),
        "training_labels": score.condition.labels,
        "split": one_line(task.split_name),
        "test_cases": len(task.test_cases),
        "higher_is_better": score.measure.higher_is_better,
        "interval_95": list(score.interval) if score.interval else None,
        "floors": {name: score.floor(name) for name in FLOORS},
        "test_files_in_pretraining": record.pretraining_overlap,
    }
    if score.spread_over:
        facts |= {"mean_over": score.spread_over, "standard_deviation": score.deviation}
    return facts


def _notes(task: TaskScores, score: Score) -> str:
    """Protocol, variant, interval or spread, and floors in one line, which is what the Hub shows beside the value."""
    parts = [f"{score.measure.metric} ({score.measure.variant})", f"{score.condition}", f"{task.split_name} split"]
    if score.interval:
        parts.append(f"95 % interval over {len(task.test_cases)} test cases {_span(*score.interval)}")
    if score.spread_over and score.deviation is not None:
        parts.append(f"mean of {score.spread_over}, standard deviation {score.deviation:.4f}")
    floors = {name: score.floor(name) for name in FLOORS}
    known = [f"{name} {value:.4f}" for name, value in floors.items() if value is not None]
    if known:
        parts.append(f"floors: {', '.join(known)}")
    if not score.measure.higher_is_better:
        parts.append("lower is better")
    return "; ".join(parts)


def _span(low: float, high: float) -> str:
    return f"{low:.4f} to {high:.4f}"

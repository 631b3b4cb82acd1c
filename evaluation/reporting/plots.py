"""Which plots of predictions a task has: along time, confusions, precision and recall, true and predicted values."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluation.predictions import Predictions
from evaluation.reporting.confusion import confusion_matrices
from evaluation.reporting.drawing import Drawing, chosen_models
from evaluation.reporting.precision_recall import precision_recall
from evaluation.reporting.resampling import open_predictions
from evaluation.reporting.scatter import value_scatter
from evaluation.reporting.scores import Condition, Model, TaskScores
from evaluation.reporting.timelines import timelines
from training.errors import UserError

_PLOTS: tuple[tuple[str, Callable[[str, Mapping[Model, Predictions]], Drawing | None]], ...] = (
    ("timelines", timelines),
    ("confusion", confusion_matrices),
    ("precision and recall", precision_recall),
    ("truth and prediction", value_scatter),
)


@dataclass(frozen=True)
class ConditionPlots:
    """Plots of one condition; `run` says whose predictions are shown where there are several."""

    condition: Condition
    run: str
    drawings: tuple[Drawing, ...]


def prediction_plots(task: TaskScores, problems: list[str]) -> list[ConditionPlots]:
    """Plots of the first run of every condition with all labels.

    Args:
        task: whose records name predictions.
        problems: takes a sentence for each file that cannot be shown.
    """
    plots = []
    for condition in task.conditions:
        if condition.count is None:
            predicted = _predicted(task, condition, problems)
            title = f"{task.title}, {condition}"
            drawings = [plot(f"{title}: {noun}", predicted) for noun, plot in _PLOTS] if predicted else []
            shown = tuple(drawing for drawing in drawings if drawing is not None)
            if shown:
                several = any(len(score.runs) > 1 for score in task.pick(condition))
                plots.append(ConditionPlots(condition, "of the first seed" if several else "", shown))
    return plots


def _predicted(task: TaskScores, condition: Condition, problems: list[str]) -> dict[Model, Predictions]:
    """Predictions of the same samples by models that have learned something."""
    files: dict[Model, Path] = {}
    for score in task.pick(condition):
        first = next(iter(score.runs.values()))
        if first.predictions is not None:
            files.setdefault(score.model, first.predictions)
    predicted: dict[Model, Predictions] = {}
    for model in chosen_models(list(files)):
        try:
            each = open_predictions(files[model])
        except UserError as error:
            if str(error) not in problems:
                problems.append(str(error))
            continue
        reference = next(iter(predicted.values()), each)
        if _same_samples(reference, each):
            predicted[model] = each
        else:
            problems.append(f"predictions file {files[model].name!r} is of other samples than the others of its table")
    return predicted


def _same_samples(first: Predictions, second: Predictions) -> bool:
    return (
        first.target == second.target
        and first.videos == second.videos
        and np.array_equal(first.seconds, second.seconds)
        and np.array_equal(first.targets, second.targets)
    )

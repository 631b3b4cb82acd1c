"""Ranks of models over tasks, with what resampling the test cases of all tasks makes of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.records import Interval
from evaluation.reporting.resampling import Resampler, mean_over_runs
from evaluation.reporting.scores import Condition, Model, Score, TaskScores
from training.bootstrap import percentiles


@dataclass(frozen=True)
class Standing:
    """A model's mean rank over tasks, 1 is best.

    Attributes:
        mean_rank: on the test cases as they are.
        draws: float64 (R,), on resampled cases.
        interval: 95 % of the draws; `None` without any.
        best: share of the draws in which no model has a smaller mean rank; those that tie share.
    """

    model: Model
    mean_rank: float
    draws: np.ndarray
    interval: Interval | None
    best: float


@dataclass(frozen=True)
class Ranking:
    """Models under one condition, the smallest mean rank first.

    Attributes:
        tasks: titles of those that count.
        left_out: title and reason of the others.
        resamples: in which every task's measure is defined for some model.
    """

    condition: Condition
    tasks: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    standings: tuple[Standing, ...]
    resamples: int


def rank_models(tasks: Sequence[TaskScores], resampler: Resampler) -> list[Ranking]:
    """A ranking for every condition with two models; without a task that counts, its standings are empty.

    In each resample (cases of a dataset drawn jointly for all its tasks, datasets independently) the models are ranked
    in each task on its primary measure; ties share the mean of their places, a model whose measure is undefined comes
    last. A task with several primary measures counts once, with the mean of its ranks. A task that lacks a model of the
    condition is left out.
    """
    conditions = dict.fromkeys(condition for task in tasks for condition in task.conditions)
    rankings = []
    for condition in conditions:
        own = [task for task in tasks if task.pick(condition)]
        models = list(dict.fromkeys(score.model for task in own for score in task.pick(condition)))
        if len(models) > 1:
            rankings.append(_rank(condition, own, models, resampler))
    return rankings


def _rank(condition: Condition, tasks: Sequence[TaskScores], models: Sequence[Model], resampler: Resampler) -> Ranking:
    ranks: dict[str, np.ndarray] = {}  # (1 + R, models)
    left_out = []
    for task in tasks:
        by_measure = []
        reason = ""
        for measure in (measure for measure in task.measures if measure.primary):
            values, reason = _values(task.pick(condition, measure), models, resampler)
            if reason:
                break
            by_measure.append(ranks_of(values if measure.higher_is_better else -values))
        if reason or not by_measure:
            left_out.append((task.title, reason or "no primary measure"))
        else:
            ranks[task.title] = np.mean(by_measure, axis=0)
    if not ranks:
        return Ranking(condition, (), tuple(left_out), (), 0)
    means = np.mean(list(ranks.values()), axis=0)  # (1 + R, models)
    draws = means[1:][~np.isnan(means[1:]).any(axis=1)]
    lowest = np.isclose(draws, draws.min(axis=1, keepdims=True)) if len(draws) else np.zeros(draws.shape)
    best = (lowest / np.maximum(lowest.sum(axis=1, keepdims=True), 1)).mean(axis=0) if len(draws) else means[0] * 0
    standings = [
        Standing(model, float(means[0, m]), draws[:, m], percentiles(draws[:, m]), float(best[m]))
        for m, model in enumerate(models)
    ]
    standings.sort(key=lambda standing: standing.mean_rank)
    return Ranking(condition, tuple(ranks), tuple(left_out), tuple(standings), len(draws))


def _values(scores: Sequence[Score], models: Sequence[Model], resampler: Resampler) -> tuple[np.ndarray, str]:
    """Values (1 + R, models), or why the task cannot count."""
    nothing = np.empty((0, len(models)))
    by_model = {score.model: score for score in scores}
    missing = [model.label for model in models if model not in by_model]
    if missing:
        return nothing, f"not measured: {', '.join(missing)}"
    if len(scores[0].records[0].split.test_cases) < 2:
        return nothing, "a single test case"
    values = {model: resampler.values(by_model[model]) for model in models}
    unusable = [model.label for model, own in values.items() if not own]
    if unusable:
        return nothing, f"no usable predictions: {', '.join(unusable)}"
    table = np.stack(mean_over_runs(list(values.values())), axis=1)
    return table, "undefined for all models" if np.isnan(table[0]).all() else ""


def ranks_of(values: np.ndarray) -> np.ndarray:
    """Ranks in each row, the largest value has rank 1: (R, M) -> (R, M); ties share.

    NaN comes last, as the rank correlation of a constant prediction does; a row of nothing but NaN stays so.
    """
    ordered = np.where(np.isnan(values), -np.inf, values)
    larger = (ordered[:, None, :] > ordered[:, :, None]).sum(axis=2)
    equal = (ordered[:, None, :] == ordered[:, :, None]).sum(axis=2)
    ranks = 1 + larger + (equal - 1) / 2
    return np.where(np.isnan(values).all(axis=1, keepdims=True), np.nan, ranks)

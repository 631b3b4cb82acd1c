"""Bars of the primary measure with intervals and floor lines, curves over the number of labels, and mean ranks."""

from collections.abc import Mapping
from statistics import fmean

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from evaluation.reporting.drawing import (
    DASHES,
    GRID,
    INK,
    WIDTH,
    Drawing,
    clean,
    draw_floors,
    file_name,
    finish,
    shortened,
    style,
)
from evaluation.reporting.ranking import Ranking
from evaluation.reporting.scores import FLOORS, Condition, Measure, Model, Score, TaskScores

LOWEST = -1.0  # where bars of a measure without lower bound (R², rank correlation) are cut off
FULL_PROTOCOL = "frozen"  # whose score with all labels is the line that few-shot curves are held against
_ROW = 0.2  # inches of a bar
_BIN = 0.1  # of mean ranks; those of one and two tasks lie in the middle of a bin


def bar_chart(task: TaskScores, measure: Measure, colors: Mapping[Model, str]) -> Drawing | None:
    """Models under every condition with all labels, below each other; `None` if there is no such score."""
    conditions = [condition for condition in task.conditions if condition.count is None]
    scores = [
        score
        for condition in conditions
        for score in task.pick(condition, measure)
        if score.mean is not None and not score.model.is_floor
    ]
    if not scores:
        return None
    title = f"{task.title}: {measure.metric}, all labels"
    places = [number + 1.2 * len({s.condition for s in scores[: number + 1]}) for number in range(len(scores))]
    with style():
        figure = Figure(figsize=(WIDTH, 0.8 + _ROW * (places[-1] + 1)), layout="constrained")
        axes = figure.add_subplot()
        for score, place in zip(scores, places, strict=True):
            draw_floors(axes, {name: score.floor(name) for name in FLOORS}, place - 0.5, place + 0.5, upright=True)
            axes.barh(place, max(score.mean or 0.0, LOWEST), height=0.72, color=colors[score.model], alpha=0.75)
            if score.interval:
                axes.plot(np.maximum(score.interval, LOWEST), [place, place], color=INK, linewidth=1.6)
            elif len(score.values) > 1:
                axes.plot(score.values, [place] * len(score.values), "o", color=INK, markersize=3, fillstyle="none")
        heads = [
            place - 1.0 for n, place in enumerate(places) if n == 0 or scores[n].condition != scores[n - 1].condition
        ]
        ticks = [(place, shortened(score.model.label)) for place, score in zip(places, scores, strict=True)]
        axes.set_yticks([place for place, _ in ticks], [label for _, label in ticks])
        for head, condition in zip(heads, dict.fromkeys(score.condition for score in scores), strict=True):
            axes.text(0.0, head, str(condition), fontweight="bold", va="center", transform=axes.get_yaxis_transform())
        axes.set_ylim(places[-1] + 0.8, heads[0] - 0.6)
        axes.axvline(0.0, color=GRID, linewidth=0.8)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlabel(_axis(measure))
        clean(axes, "x")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower right", ncols=3)
        return finish(figure, file_name(task.title, "bars", measure.metric, measure.variant), title)


def shot_curves(task: TaskScores, measure: Measure, colors: Mapping[Model, str]) -> list[Drawing]:
    """Score against the number of labeled cases or images, for every few-shot protocol and probe.

    A dot is the mean over subsets and seeds, its line reaches from the smallest to the largest of them. The dashed line
    is the score with all labels, of the same probe under the same protocol or else under `FULL_PROTOCOL`.
    """
    few = dict.fromkeys((c.protocol, c.probe, c.unit) for c in task.conditions if c.count is not None)
    return [_curve(task, measure, colors, *each) for each in few]


def _curve(
    task: TaskScores, measure: Measure, colors: Mapping[Model, str], protocol: str, probe: str, unit: str
) -> Drawing:
    lines: dict[str, list[Score]] = {}
    for score in task.pick(measure=measure):
        c = score.condition
        if (c.protocol, c.probe, c.unit) == (protocol, probe, unit) and c.count is not None and score.mean is not None:
            lines.setdefault(score.model.label, []).append(score)
    with style():
        figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
        axes = figure.add_subplot()
        for number, (label, scores) in enumerate(lines.items()):
            model = scores[0].model
            counts = np.array([score.condition.count for score in scores], dtype=np.float64)
            shift = 1 + 0.012 * (number - (len(lines) - 1) / 2)  # so that lines of spread do not hide each other
            color, kind = colors[model], DASHES.get(model.role, "-")
            means = [fmean(score.values) for score in scores]
            axes.plot(
                counts * shift, means, linestyle=kind, color=color, marker="o", markersize=4, label=shortened(label)
            )
            for count, score in zip(counts, scores, strict=True):
                axes.plot([count * shift] * 2, [min(score.values), max(score.values)], color=color, linewidth=1.4)
            full = _with_all_labels(task, measure, model.label, protocol, probe)
            if full is not None and not model.is_floor:
                axes.axhline(full, color=color, linewidth=0.9, linestyle=(0, (4, 3)))
        every = sorted(
            {score.condition.count for scores in lines.values() for score in scores if score.condition.count}
        )
        axes.set_xscale("log")
        axes.set_xticks(every, [str(count) for count in every])
        axes.minorticks_off()
        axes.set_xlabel(f"labeled {unit}")
        axes.set_ylabel(_axis(measure))
        clean(axes, "y")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper")
        title = f"{task.title}: {measure.metric} by number of labeled {unit}, {probe} probe"
        return finish(figure, file_name(task.title, protocol, probe, unit, measure.metric, measure.variant), title)


def _with_all_labels(task: TaskScores, measure: Measure, label: str, protocol: str, probe: str) -> float | None:
    for name in (protocol, FULL_PROTOCOL):
        for score in task.pick(Condition(name, probe), measure):
            if score.model.label == label:
                return score.mean
    return None


def rank_chart(ranking: Ranking, colors: Mapping[Model, str]) -> Drawing:
    """The distribution of each model's mean rank over resamples, with its interval and the rank on the cases as they
    are."""
    standings = ranking.standings
    edges = np.arange(1 - _BIN / 2, len(standings) + _BIN, _BIN)
    with style():
        figure = Figure(figsize=(WIDTH, 0.7 + 0.38 * len(standings)), layout="constrained")
        axes = figure.add_subplot()
        for place, standing in enumerate(standings):
            shares = np.histogram(standing.draws, edges)[0] / max(len(standing.draws), 1)
            base = place + 0.25
            axes.stairs(base - 0.85 * shares / max(shares.max(), 1e-9), edges, baseline=base, fill=True,
                        color=colors[standing.model], alpha=0.45)  # fmt: skip
            if standing.interval:
                axes.plot(standing.interval, [base, base], color=colors[standing.model], linewidth=2.2)
            axes.plot([standing.mean_rank], [base], "o", color=INK, markersize=4)
        axes.set_yticks(np.arange(len(standings)) + 0.25, [shortened(s.model.label) for s in standings])
        axes.set_ylim(len(standings) - 0.4, -0.8)
        axes.set_xlim(edges[0] - _BIN, edges[-1] + _BIN)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("mean rank, 1 is best")
        clean(axes, "x")
        return finish(figure, file_name("rank", ranking.condition), f"Mean rank: {ranking.condition}")


def _axis(measure: Measure) -> str:
    """The measure, and its direction where less is better."""
    return measure.metric.replace("_", " ") + ("" if measure.higher_is_better else " (lower is better)")

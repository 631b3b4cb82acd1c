"""The comparison as one table, Markdown for people and JSON for programs."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from training.comparison.runs import Finished
from training.comparison.scores import Score, Scores


def to_markdown(finished: Sequence[Finished], scores: Scores) -> str:
    """Rows are budgets and measures, columns are recipes and floors; best student of a row in bold."""
    recipes = list(dict.fromkeys(each.run.recipe for each in finished))
    floors = list(dict.fromkeys(name for row in scores.values() for name in row if name not in recipes))
    lines = [
        f"| {' | '.join(['', *recipes, *floors])} |",
        f"|---|{'---:|' * (len(recipes) + len(floors))}",
        *(_line(label, [*cells, *[""] * len(floors)]) for label, cells in _budgets(finished, recipes)),
    ]
    for measure, row in scores.items():
        best = max((row[name].value for name in recipes if name in row), default=0.0)
        cells = [_cell(row.get(name), bold=name in recipes and row[name].value == best) for name in [*recipes, *floors]]
        lines.append(_line(str(measure), cells))
    seeds = len({each.run.config.seed for each in finished})
    notes = [
        "Seconds and operations are those of training; a multiplication and the addition after it are two operations. "
        "Brackets: 95 % bootstrap interval over test cases"
        + (f", its ends averaged over {seeds} seeds; ±: half of the range of the seeds. " if seeds > 1 else ". ")
        + "Two students whose intervals overlap have not been told apart."
    ]
    variants = dict.fromkeys(f"- {measure.metric}: {measure.variant}" for measure in scores)
    return "\n".join([*lines, "", *notes, "", *variants, ""])


def to_json(finished: Sequence[Finished], scores: Scores) -> dict[str, Any]:
    """Every run and every score."""
    return {
        "schema_version": 1,
        "runs": [
            {
                "recipe": each.run.recipe,
                "strategy": each.run.config.strategy,
                "seed": each.run.config.seed,
                "frames": each.run.frames,
                "seconds": each.seconds,
                "flop": {
                    "per_frame": each.cost.per_frame,
                    "total": each.cost.total,
                    "teachers_per_view": each.cost.teachers_per_view,
                    "learning_per_frame": each.cost.learning_per_frame,
                    "views_taught": each.cost.views_taught,
                },
            }
            for each in finished
        ],
        "scores": [
            {
                "task": measure.task,
                "probe": measure.probe,
                "metric": measure.metric,
                "variant": measure.variant,
                "model": name,
                "value": score.value,
                "values": list(score.values),
                "interval": None if score.low is None else [score.low, score.high],
            }
            for measure, row in scores.items()
            for name, score in row.items()
        ],
    }


def _budgets(finished: Sequence[Finished], recipes: Sequence[str]) -> list[tuple[str, list[str]]]:
    """What the runs of each recipe cost on average."""
    groups = [[each for each in finished if each.run.recipe == recipe] for recipe in recipes]
    return [
        ("strategy", [runs[0].run.config.strategy for runs in groups]),
        ("frames seen", [f"{runs[0].run.frames:,}" for runs in groups]),
        ("seconds", [f"{fmean(each.seconds for each in runs):.0f}" for runs in groups]),
        ("GFLOP per frame", [f"{runs[0].cost.per_frame / 1e9:.2f}" for runs in groups]),
        ("of it teachers", [f"{_taught_share(runs[0]):.0%}" for runs in groups]),
        ("PFLOP in all", [f"{runs[0].cost.total / 1e15:.3g}" for runs in groups]),
    ]


def _taught_share(finished: Finished) -> float:
    cost = finished.cost
    return cost.teachers_per_view * cost.views_taught / cost.total


def _cell(score: Score | None, *, bold: bool) -> str:
    if score is None:
        return ""
    text = f"**{score.value:.3f}**" if bold else f"{score.value:.3f}"
    if len(score.values) > 1:
        text += f" ±{(max(score.values) - min(score.values)) / 2:.3f}"
    return text if score.low is None else f"{text} [{score.low:.3f}, {score.high:.3f}]"


def _line(label: str, cells: Sequence[str]) -> str:
    return f"| {' | '.join([label.replace('|', '/'), *cells])} |"

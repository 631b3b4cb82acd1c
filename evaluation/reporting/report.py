"""From results files to the folder of the report; two runs on the same files give the same bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from evaluation.reporting.bars import bar_chart, rank_chart, shot_curves
from evaluation.reporting.cautions import cautions
from evaluation.reporting.csv_table import csv_table
from evaluation.reporting.drawing import Drawing, model_colors
from evaluation.reporting.folder import FIGURES, MADE_BY, check_target, write_folder
from evaluation.reporting.plots import ConditionPlots, prediction_plots
from evaluation.reporting.ranking import Ranking, rank_models
from evaluation.reporting.resampling import Resampler
from evaluation.reporting.results import Results, read_results
from evaluation.reporting.scores import FLOORS, Model, TaskScores, group_scores
from evaluation.reporting.view import ProtocolView, protocol_view
from training.bootstrap import RESAMPLES
from training.report.formats import count
from training.report.markdown import markdown_environment
from training.report.rendering import html_environment, render

TEMPLATES = Path(__file__).parent / "templates"
MARKS = {"up": "▲", "down": "▼", "even": "="}


@dataclass(frozen=True)
class TaskView:
    """Everything that is shown of a task."""

    task: TaskScores
    protocols: tuple[ProtocolView, ...]
    charts: tuple[Drawing, ...]
    plots: tuple[ConditionPlots, ...]


@dataclass(frozen=True)
class RankView:
    """A ranking and its picture, `None` where no task counts."""

    ranking: Ranking
    chart: Drawing | None


def make_report(files: Sequence[Path], output: Path) -> None:
    """Write the folder of the report: `report.html`, `report.md`, `table.csv` and `figures/`.

    Args:
        files: results files of `evaluation.benchmark`, one or several.
        output: folder; an earlier report in it is replaced.

    Raises:
        UserError: a file is missing, broken or empty, or the folder holds something else; nothing has been written
            then.
    """
    check_target(output)
    results = read_results(files)
    tasks = group_scores(results.found)
    colors = model_colors(dict.fromkeys(score.model for task in tasks for score in task.scores))
    resampler = Resampler()
    primary = [score for task in tasks for score in task.scores if score.measure.primary]
    for score in tqdm(primary, desc="resampling", unit="score"):
        resampler.values(score)  # what takes the time; ranks and pairs find it done
    rankings = [
        RankView(ranking, rank_chart(ranking, colors) if ranking.standings else None)
        for ranking in rank_models(tasks, resampler)
    ]
    views = [_view(task, resampler, colors) for task in tqdm(tasks, desc="plots", unit="task")]
    facts = _facts(results, views, rankings, resampler.problems)
    drawings = [each.chart for each in rankings if each.chart] + [d for view in views for d in _drawings(view)]
    contents = {
        "report.html": render(html_environment(TEMPLATES), "report.html.jinja", facts),
        "report.md": render(markdown_environment(TEMPLATES), "report.md.jinja", facts),
        "table.csv": csv_table(results.found),
    }
    contents |= {f"{FIGURES}/{drawing.name}": drawing.file for drawing in drawings}
    write_folder(output, contents)


def _view(task: TaskScores, resampler: Resampler, colors: Mapping[Model, str]) -> TaskView:
    charts = []
    for measure in task.measures:
        if measure.primary:
            charts += [bar_chart(task, measure, colors), *shot_curves(task, measure, colors)]
    return TaskView(
        task,
        tuple(protocol_view(task, protocol, resampler) for protocol in task.protocols),
        tuple(chart for chart in charts if chart is not None),
        tuple(prediction_plots(task, resampler.problems)),
    )


def _drawings(view: TaskView) -> list[Drawing]:
    return [*view.charts, *(drawing for plots in view.plots for drawing in plots.drawings)]


def _facts(
    results: Results, views: Sequence[TaskView], rankings: Sequence[RankView], problems: Sequence[str]
) -> dict[str, Any]:
    """The variables of both templates."""
    tasks = [view.task for view in views]
    models = list(dict.fromkeys(score.model for task in tasks for score in task.scores))
    students = [model.label for model in models if model.role == "student"]
    protocols = list(dict.fromkeys(protocol for task in tasks for protocol in task.protocols))
    return {
        "made_by": MADE_BY,
        "name": f"Benchmark of {', '.join(students or [model.label for model in models])}",
        "facts": [
            ("models", count(len(models))),
            ("tasks", count(len(tasks))),
            ("protocols", ", ".join(protocols)),
            ("records", count(len(results.found))),
            ("resamples of the test cases", count(RESAMPLES)),
        ],
        "cautions": cautions(tasks, problems),
        "rankings": rankings,
        "tasks": views,
        "skips": results.skips,
        "marks": MARKS,
        "floors": [name.replace("_", " ") for name in FLOORS],
        "figures": FIGURES,
        "models": _provenance(results, models),
        "environment": _environment(results),
    }


def _provenance(results: Results, models: Sequence[Model]) -> list[tuple[Model, str, str]]:
    """Each model with the id and revision of its backbone."""
    rows = []
    for model in models:
        key = (model.weights_sha256, model.preprocessing_sha256)
        backbones = (found.record.backbone for found in results.found)
        backbone = next(b for b in backbones if (b.weights_sha256, b.preprocessing_sha256) == key)
        rows.append((model, backbone.id, backbone.revision or ""))
    return rows


def _environment(results: Results) -> list[str]:
    """Package versions and devices of the records, a line for each combination."""
    records = [found.record for found in results.found]
    versions = {
        ", ".join(f"{name} {number}" for name, number in sorted(record.package_versions.items()))
        + f"; on {record.device}"
        for record in records
    }
    return sorted(versions)

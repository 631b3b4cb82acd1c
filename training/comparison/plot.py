"""The comparison as one picture: a panel for each measure, a row for each model."""

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.comparison.scores import Scores
from training.report.charts import COLORS, REST

PANELS_PER_ROW = 3
_PANEL = 3.3  # inches wide
_ROW = 0.24  # inches of a model
_HEAD = 0.9  # inches of a panel's title and axis


def draw(scores: Scores, recipes: list[str], path: Path) -> None:
    """Write `path` with the ending .svg and .png.

    Dots are means over seeds, lines their 95 % intervals over test cases, small rings the seeds. Students have colors,
    floors are gray.

    Args:
        scores: at least one measure.
        recipes: names of the students, from above.
        path: without its ending.
    """
    models = list(dict.fromkeys(name for row in scores.values() for name in row))
    columns = min(PANELS_PER_ROW, len(scores))
    rows = -(-len(scores) // columns)
    with matplotlib.rc_context({"font.size": 8, "font.family": "sans-serif", "svg.hashsalt": path.name}):
        size = (_PANEL * columns + 1.2, rows * (_HEAD + _ROW * len(models)))
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten()
        for axes, (measure, row) in zip(grid[: len(scores)], scores.items(), strict=True):
            for place, name in enumerate(models):
                if name not in row:
                    continue
                score = row[name]
                color = COLORS[recipes.index(name) % len(COLORS)] if name in recipes else REST
                if score.low is not None and score.high is not None:
                    axes.plot([score.low, score.high], [place, place], color=color, linewidth=1.8)
                axes.plot([score.value], [place], color=color, marker="o", markersize=5)
                if len(score.values) > 1:
                    rings = [place] * len(score.values)
                    axes.plot(score.values, rings, color=color, marker="o", markersize=3, fillstyle="none", linewidth=0)
            axes.set_title(f"{measure.task}, {measure.probe} probe\n{measure.what}", fontsize=7)
            axes.set_yticks(range(len(models)), models)
            axes.set_ylim(len(models) - 0.5, -0.5)
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.grid(axis="x", color="#e3e7ea", linewidth=0.8)
            axes.set_axisbelow(True)
            axes.tick_params(length=0)
            for side in axes.spines.values():
                side.set_visible(False)
        for axes in grid[len(scores) :]:
            axes.set_visible(False)
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None, "Creator": None})
        figure.savefig(path.with_suffix(".png"), dpi=150)

"""Predicted against true values, for tasks of real numbers."""

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from evaluation.predictions import Predictions
from evaluation.reporting.drawing import INK, WIDTH, Drawing, class_colors, clean, file_name, finish, shortened, style
from evaluation.reporting.scores import Model


def value_scatter(title: str, predicted: Mapping[Model, Predictions]) -> Drawing | None:
    """Truth against prediction, rows of panels are values and columns models; `None` for tasks with classes."""
    first = next(iter(predicted.values()))
    if first.target.kind != "value" or not len(first.targets):
        return None
    values, models = len(first.target.classes), len(predicted)
    with style():
        width = max(WIDTH, 1.6 * models)
        figure = Figure(figsize=(width, 0.3 + 1.9 * values), layout="constrained")
        grid = figure.subplots(values, models, squeeze=False)
        for column, (model, each) in enumerate(predicted.items()):
            for row, name in enumerate(first.target.classes):
                axes = grid[row, column]
                truth = first.targets[:, row]
                low, high = float(truth.min()), float(truth.max())
                axes.plot([low, high], [low, high], color=INK, linewidth=0.9, linestyle=(0, (3, 3)))
                axes.scatter(truth, each.scores[:, row], s=14, color=class_colors(1)[0], alpha=0.6, linewidths=0)
                if row == 0:
                    axes.set_title(shortened(model.label), loc="left")
                if column == 0:
                    axes.set_ylabel(f"{shortened(name)}\npredicted")
                if row == values - 1:
                    axes.set_xlabel("truth")
                axes.xaxis.set_major_locator(MaxNLocator(4))
                axes.yaxis.set_major_locator(MaxNLocator(4))
                clean(axes, "both")
        return finish(figure, file_name(title), title)

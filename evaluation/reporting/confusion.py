"""Confusion matrices: each true class's predictions as shares of its samples."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from evaluation.predictions import Predictions
from evaluation.reporting.drawing import WIDTH, Drawing, clean, file_name, finish, shortened, style
from evaluation.reporting.scores import Model

WRITTEN = 8  # classes up to which shares stand in the cells; above, they show when the mouse rests on a cell
PER_ROW = 2
_SHADES = np.array([[0xFF, 0xFF, 0xFF], [0x00, 0x52, 0x82]]) / 255  # of a share of 0 and of 1


def confusion_matrices(title: str, predicted: Mapping[Model, Predictions]) -> Drawing | None:
    """A matrix for each model, rows are the truth and sum to 1; `None` unless samples have one class each."""
    first = next(iter(predicted.values()))
    if first.target.kind != "single":
        return None
    classes = [shortened(name) for name in first.target.classes]
    hovers: dict[str, str] = {}
    rows = -(-len(predicted) // PER_ROW)
    with style():
        figure = Figure(figsize=(WIDTH, 0.2 + rows * (1.2 + 0.24 * max(len(classes), 4))), layout="constrained")
        grid = figure.subplots(rows, PER_ROW, squeeze=False).flatten()
        for number, (axes, (model, each)) in enumerate(zip(grid, predicted.items(), strict=False)):
            counts = count_confusions(each)
            hovers |= _draw(axes, counts, [*first.target.classes], f"cell-{file_name(title)}-{number}")
            axes.set_title(shortened(model.label), loc="left")
            axes.set_xticks(np.arange(len(classes)) + 0.5, classes, rotation=90)
            axes.set_yticks(np.arange(len(classes)) + 0.5, classes if number % PER_ROW == 0 else [""] * len(classes))
            clean(axes)
        for axes in grid[len(predicted) :]:
            axes.set_visible(False)
        figure.supxlabel("predicted", fontsize=8)
        figure.supylabel("truth", fontsize=8)
        return finish(figure, file_name(title), title, hovers)


def count_confusions(predictions: Predictions) -> np.ndarray:
    """Samples of each true class (rows) that were taken for each class: int64 (K, K)."""
    counts = np.zeros((len(predictions.target.classes),) * 2, dtype=np.int64)
    np.add.at(counts, (predictions.targets, predictions.predicted), 1)
    return counts


def _draw(axes: Axes, counts: np.ndarray, classes: list[str], prefix: str) -> dict[str, str]:
    """Cells of one matrix; returns what they say to a mouse, by identifier."""
    size = len(counts)
    hovers = {}
    totals = counts.sum(axis=1)
    for (truth, called), count in np.ndenumerate(counts):
        if not totals[truth] or (not count and size > WRITTEN):
            continue
        share = count / totals[truth]
        identifier = f"{prefix}-{truth}-{called}"
        color = tuple(_SHADES[0] + share * (_SHADES[1] - _SHADES[0]))
        axes.add_patch(Rectangle((called, truth), 1, 1, facecolor=color, edgecolor="#ffffff", gid=identifier))
        hovers[identifier] = (
            f"{classes[truth]} taken for {classes[called]}: {count} of {totals[truth]} samples ({100 * share:.0f} %)"
        )
        if size <= WRITTEN:
            ink = "#ffffff" if share > 0.5 else "#1d2b33"
            axes.text(called + 0.5, truth + 0.5, f"{100 * share:.0f}", ha="center", va="center", color=ink, fontsize=7)
    axes.set_xlim(0, size)
    axes.set_ylim(size, 0)
    return hovers

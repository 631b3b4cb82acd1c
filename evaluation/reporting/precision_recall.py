"""Precision against recall for every class of a multi-label task."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve

from evaluation.metrics.mean_average_precision import average_precision
from evaluation.predictions import Predictions
from evaluation.reporting.drawing import WIDTH, Drawing, clean, file_name, finish, shortened, style
from evaluation.reporting.scores import Model
from training.report.charts import COLORS

MOST_CLASSES = 12  # curves in a panel: those with the most positive samples
POINTS = 200  # of a curve; a longer one is thinned evenly
PER_ROW = 2


def precision_recall(title: str, predicted: Mapping[Model, Predictions]) -> Drawing | None:
    """A panel for each model, a curve for each class with positive samples; `None` unless the task is multi-label."""
    first = next(iter(predicted.values()))
    positives = first.targets.sum(axis=0)
    if first.target.kind != "multi" or not positives.any():
        return None
    shown = sorted(np.argsort(-positives, kind="stable")[:MOST_CLASSES].tolist())
    shown = [column for column in shown if positives[column]]
    rows = -(-len(predicted) // PER_ROW)
    with style():
        figure = Figure(figsize=(WIDTH, 0.5 + 2.6 * rows), layout="constrained")
        grid = figure.subplots(rows, PER_ROW, squeeze=False).flatten()
        for axes, (model, each) in zip(grid, predicted.items(), strict=False):
            for place, column in enumerate(shown):
                precision, recall, _ = precision_recall_curve(each.targets[:, column], each.scores[:, column])
                kept = np.unique(np.linspace(0, len(recall) - 1, POINTS).round().astype(int))
                name = f"{shortened(each.target.classes[column])} ({positives[column]})"
                axes.step(recall[kept], precision[kept], label=name, **_look(place))
            defined = average_precision(each.targets, each.scores)
            axes.set_title(f"{shortened(model.label)}, mAP {np.nanmean(defined):.3f}", loc="left")
            axes.set_xlim(0, 1.01)
            axes.set_ylim(0, 1.02)
            axes.set_xlabel("recall")
            axes.set_ylabel("precision")
            clean(axes, "both")
        for axes in grid[len(predicted) :]:
            axes.set_visible(False)
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower left", ncols=3)
        left_out = int((positives > 0).sum()) - len(shown)
        note = f" (classes with most positives; {left_out} more not drawn)" if left_out else ""
        return finish(figure, file_name(title), title + note)


def _look(place: int) -> dict[str, Any]:
    """Twice as many classes as there are colors: the second half is dashed."""
    dash = "-" if place < len(COLORS) else (0, (3, 1.5))
    return {"where": "post", "linewidth": 1.3, "color": COLORS[place % len(COLORS)], "linestyle": dash}

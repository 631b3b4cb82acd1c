"""Truth and predictions along whole videos as bands of color."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from evaluation.predictions import Predictions
from evaluation.reporting.drawing import WIDTH, Drawing, class_colors, clean, file_name, finish, shortened, style
from evaluation.reporting.scores import Model

VIDEOS = 4  # shown, spread evenly over the test side
COLUMNS = 1000  # pixels of a band, however long the video
GAP = 2.5  # times the usual distance of samples: what is farther from any sample is left blank
_BAND = 0.2  # inches
_NOTHING = -1


def timelines(title: str, predicted: Mapping[Model, Predictions]) -> Drawing | None:
    """Bands of the truth and of each model, video by video.

    Args:
        title: of the figure.
        predicted: of the same samples; one class each.

    Returns:
        The figure, or `None` if the samples are not in time.
    """
    first = next(iter(predicted.values()))
    videos = _spread([rows for rows in first.sequences() if rows.stop - rows.start > 1], VIDEOS)
    if first.target.kind != "single" or not videos or not first.seconds.any():
        return None
    colors = class_colors(len(first.target.classes))
    palette = np.array([*map(to_rgba, colors), (0, 0, 0, 0)])  # the last one, `_NOTHING`, is no color
    names = ["truth", *(shortened(model.label) for model in predicted)]
    legend = [Patch(color=c, label=shortened(n)) for c, n in zip(colors, first.target.classes, strict=True)]
    with style():
        legend_height = 0.17 * -(-len(legend) // 3)
        height = len(videos) * (0.55 + _BAND * len(names)) + legend_height + 0.2
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        grid = figure.subplots(len(videos), squeeze=False)[:, 0]
        for axes, rows in zip(grid, videos, strict=True):
            seconds = first.seconds[rows]
            bands = [first.targets[rows], *(each.predicted[rows] for each in predicted.values())]
            length = (seconds[-1] - seconds[0] + _distance(seconds)) / 60
            for place, classes in enumerate(bands):
                axes.imshow(
                    palette[_band(seconds, classes)][None],
                    aspect="auto",
                    interpolation="none",  # all columns, whatever the resolution of the figure
                    extent=(0, length, place + 0.95, place + 0.05),
                )
            axes.set_ylim(len(bands), 0)
            axes.set_yticks(np.arange(len(bands)) + 0.5, names)
            axes.set_title(shortened(first.videos[rows.start]), loc="left")
            clean(axes)
        grid[-1].set_xlabel("minutes")
        figure.legend(handles=legend, loc="outside lower left", ncols=3)
        return finish(figure, file_name(title), title)


def _band(seconds: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Class of the latest sample at each of `COLUMNS` moments, int64; `_NOTHING` long after a sample."""
    step = _distance(seconds)
    moments = seconds[0] + (np.arange(COLUMNS) + 0.5) / COLUMNS * (seconds[-1] - seconds[0] + step)
    latest = np.searchsorted(seconds, moments, side="right") - 1
    return np.where(moments - seconds[latest] > GAP * step, _NOTHING, classes[latest])


def _distance(seconds: np.ndarray) -> float:
    """Usual distance of two samples, seconds."""
    return float(np.median(np.diff(seconds)))


def _spread(items: Sequence[slice], count: int) -> list[slice]:
    """Up to `count` items at the middles of equal parts."""
    chosen = np.floor((np.arange(min(count, len(items))) + 0.5) * len(items) / max(min(count, len(items)), 1))
    return [items[int(i)] for i in chosen]

"""Histograms, line charts and values with intervals as inline SVG."""

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullLocator

# Distinguishable for color-blind readers and on white paper (Okabe and Ito's palette without yellow).
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
REST = "#8a959c"  # of everything that has no color of its own
BINS = 40
# Inches: three charts side by side at 1200 px, one on a phone.
_HISTOGRAM_SIZE = (4.2, 2.5)
_LINES_SIZE = (4.2, 2.7)
_ROW = 0.17  # inches of one value in a chart of intervals
_INK = "#4a5560"
_GRID = "#e3e7ea"


@dataclass(frozen=True)
class Series:
    """Values of one color: float64 (N,), each counting `weights` times."""

    label: str
    color: str
    values: np.ndarray
    weights: np.ndarray | None = None


@dataclass(frozen=True)
class Line:
    """One line of a chart: steps, values (NaN leaves a gap) and its color."""

    label: str
    color: str
    steps: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True)
class Interval:
    """A value with its interval, `None` where there is none."""

    color: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Chart:
    """A finished chart."""

    title: str
    svg: Markup


def histogram(
    title: str, axis: str, series: Sequence[Series], *, mark: float | None = None, logarithmic: bool = False
) -> Chart:
    """Stacked histogram, counts upwards.

    Args:
        title: of the chart.
        axis: what the values are, with their unit.
        series: at least one value in all; values that are not finite are left out.
        mark: a value to mark with a vertical line.
        logarithmic: bins of equal ratio, for values above 0; smaller ones count in the first bin.
    """
    finite = [np.isfinite(each.values) for each in series]
    values = [each.values[keep] for each, keep in zip(series, finite, strict=True)]
    weights = [
        np.ones(len(own)) if each.weights is None else each.weights[keep]
        for each, keep, own in zip(series, finite, values, strict=True)
    ]
    edges = _edges(np.concatenate([*values, [] if mark is None else [mark]]), logarithmic=logarithmic)
    values = [np.clip(own, edges[0], edges[-1]) for own in values]

    def plot(axes: Axes) -> None:
        base = np.zeros(len(edges) - 1)
        for each, own, weight in zip(series, values, weights, strict=True):
            counts = np.histogram(own, edges, weights=weight)[0]
            axes.stairs(base + counts, edges, baseline=base, fill=True, color=each.color)
            base = base + counts
        if mark is not None:
            axes.axvline(mark, color="#a8321f", linewidth=1.2, linestyle=(0, (3, 2)))
        if logarithmic:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
            axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
            axes.xaxis.set_minor_locator(NullLocator())
        else:
            axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))

    return _draw(title, axis, _HISTOGRAM_SIZE, plot)


def line_chart(
    title: str, axis: str, lines: Sequence[Line], *, mark: float | None = None, logarithmic: bool = False
) -> Chart:
    """Steps against values.

    Args:
        title: of the chart.
        axis: what the steps are.
        lines: each ends in a dot.
        mark: a value to mark with a dashed horizontal line.
        logarithmic: both axes, for steps and values above 0.
    """

    def plot(axes: Axes) -> None:
        if mark is not None:
            axes.axhline(mark, color=_INK, linewidth=0.9, linestyle=(0, (3, 3)))
        for line in lines:
            axes.plot(line.steps, line.values, color=line.color, linewidth=1.8, solid_capstyle="round")
            # A single point has no line; the end point also carries the eye to the final value.
            if line.steps and math.isfinite(line.values[-1]):
                axes.plot(line.steps[-1:], line.values[-1:], color=line.color, marker="o", markersize=4)
        if logarithmic:
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_minor_locator(NullLocator())

    return _draw(title, axis, _LINES_SIZE, plot)


def interval_chart(
    title: str, axis: str, groups: Mapping[str, Sequence[Interval]], *, mark: float | None = None
) -> Chart:
    """Values as dots on their intervals, one below the other, those of a group together.

    Args:
        title: of the chart.
        axis: what the values are.
        groups: values by the label of the group, from above; at least one.
        mark: a value to mark with a dashed vertical line.
    """
    count = sum(len(values) + 1 for values in groups.values())

    def plot(axes: Axes) -> None:
        places, place = [], 0.0
        if mark is not None:
            axes.axvline(mark, color=_INK, linewidth=0.9, linestyle=(0, (3, 3)))
        for values in groups.values():
            places.append(place + (len(values) - 1) / 2)
            for each in values:
                if each.low is not None and each.high is not None:
                    axes.plot([each.low, each.high], [place, place], color=each.color, linewidth=1.8)
                axes.plot([each.value], [place], color=each.color, marker="o", markersize=4.5)
                place += 1
            place += 1
        axes.set_yticks(places, list(groups))
        axes.set_ylim(place - 1.2, -0.8)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid(axis="x", color=_GRID, linewidth=0.8)

    return _draw(title, axis, (_LINES_SIZE[0], 0.7 + _ROW * count), plot, grid=False)


def _edges(values: np.ndarray, *, logarithmic: bool) -> np.ndarray:
    """Borders of the bins, float64 (BINS + 1,)."""
    if logarithmic:
        positive = values[values > 0]
        low, high = (float(positive.min()), float(positive.max())) if len(positive) else (1.0, 10.0)
        return np.geomspace(low, max(high, low * 1.1), BINS + 1)
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    if high <= low:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, BINS + 1)


def _draw(
    title: str, axis: str, size: tuple[float, float], plot: Callable[[Axes], None], *, grid: bool = True
) -> Chart:
    """The chart that `plot` fills, in the one style of all: horizontal grid lines unless it has its own, no frame."""
    # Text stays text, so that it takes the page's font; the salt makes identifiers, and so the file, reproducible.
    with matplotlib.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": title, "font.family": "sans-serif", "font.size": 9}
    ):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        plot(axes)
        axes.set_xlabel(axis, color=_INK)
        axes.tick_params(colors=_INK, length=0)
        if grid:
            axes.grid(axis="y", color=_GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.margins(x=0.02)
        for side in axes.spines.values():
            side.set_visible(False)
        return Chart(title, inline_svg(figure, title))


def inline_svg(figure: Figure, title: str) -> Markup:
    """The `<svg>` element alone, without fixed size and metadata, named for screen readers."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    element = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    element = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", element, count=1)
    element = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", element, count=1)
    return Markup(element.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1))

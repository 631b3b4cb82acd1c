"""Histograms as inline SVG."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullLocator

# Distinguishable for color-blind readers and on white paper (Okabe and Ito's palette without yellow).
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
REST = "#8a959c"
SIZE = (4.2, 2.5)  # inches: three charts side by side at 1200 px, one on a phone
BINS = 40
_INK = "#4a5560"
# Text stays text, so that it takes the page's font; the salt makes identifiers, and so the file, reproducible.
_STYLE: dict[str, Any] = {"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}


@dataclass(frozen=True)
class Series:
    """Values of one color: float64 (N,), each counting `weights` times."""

    label: str
    color: str
    values: np.ndarray
    weights: np.ndarray | None = None


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
    style: dict[str, Any] = {**_STYLE, "svg.hashsalt": title}
    with matplotlib.rc_context(style):  # type: ignore[arg-type]
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.add_subplot()
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
        axes.set_xlabel(axis, color=_INK)
        _tidy(axes)
        return Chart(title, _inline(figure, title))


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


def _tidy(axes: Any) -> None:
    axes.tick_params(colors=_INK, length=0)
    axes.grid(axis="y", color="#e3e7ea", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_ylim(bottom=0)
    axes.margins(x=0.02)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    for side in axes.spines.values():
        side.set_visible(False)


def _inline(figure: Figure, title: str) -> Markup:
    """The `<svg>` element alone, without fixed size and metadata, named for screen readers."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    element = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    element = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", element, count=1)
    element = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", element, count=1)
    return Markup(element.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1))

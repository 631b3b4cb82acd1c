"""Line charts of a run as inline SVG: agreement with each teacher on held-out cases, and the training loss."""

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from hub_cards.run_records import AgreementPoint, Run

# Distinguishable for color-blind readers and on white paper (Okabe and Ito's palette without yellow).
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#444444")
SIZE = (4.2, 2.7)  # inches: three charts side by side at 1200 px, one on a phone
INK = "#4a5560"
# Text stays text, so that it takes the page's font; the salt makes identifiers, and so the file, reproducible.
_STYLE = {"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}


@dataclass(frozen=True)
class Line:
    """One line of a chart: steps, values (NaN leaves a gap) and its color."""

    label: str
    color: str
    steps: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True)
class Chart:
    """A finished chart."""

    title: str
    svg: Markup


def agreement_charts(run: Run) -> list[Chart]:
    """Explained variance and centred cosine on held-out cases through the run, dense and summary tokens apart.

    A kind of token that no teacher teaches, or a run without held-out cases, has no chart.
    """
    held_out = [point for point in run.agreement if point.split == "held_out"]
    measures = (("explained_variance", "Explained variance"), ("cosine", "Centered cosine"))
    charts = []
    for tokens in ("dense", "summary"):
        points = [point for point in held_out if point.tokens == tokens]
        for measure, name in measures:
            if points:
                title = f"{name}, {tokens} tokens"
                charts.append(Chart(title, _draw(title, _lines(run, points, measure), floor=0.0)))
    return charts


def loss_chart(run: Run) -> list[Chart]:
    """The total training loss through the run; nothing if none was logged."""
    if not run.losses:
        return []
    steps, values = [point.step for point in run.losses], [point.loss for point in run.losses]
    title = "Training loss, weighted sum"
    return [Chart(title, _draw(title, [Line("loss", COLORS[-1], steps, values)], floor=None))]


def teacher_colors(run: Run) -> dict[str, str]:
    """One color per teacher, the same in every chart."""
    return {teacher.key: COLORS[number % (len(COLORS) - 1)] for number, teacher in enumerate(run.teachers)}


def _lines(run: Run, points: list[AgreementPoint], measure: str) -> list[Line]:
    lines = []
    for name, color in teacher_colors(run).items():
        own = [point for point in points if point.teacher == name]
        if own:
            lines.append(Line(name, color, [point.step for point in own], [getattr(point, measure) for point in own]))
    return lines


def _draw(title: str, lines: Sequence[Line], floor: float | None) -> Markup:
    """Steps against values; `floor` is drawn as a dashed line (what the best constant predictor reaches)."""
    style: dict[str, Any] = {**_STYLE, "svg.hashsalt": title}
    with matplotlib.rc_context(style):  # type: ignore[arg-type]
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.add_subplot()
        if floor is not None:
            axes.axhline(floor, color=INK, linewidth=0.9, linestyle=(0, (3, 3)))
        for line in lines:
            axes.plot(line.steps, line.values, color=line.color, linewidth=1.8, solid_capstyle="round")
            # A single point has no line; the end point also carries the eye to the final value.
            if line.steps and math.isfinite(line.values[-1]):
                axes.plot(line.steps[-1:], line.values[-1:], color=line.color, marker="o", markersize=4)
        axes.set_xlabel("step", color=INK)
        axes.tick_params(colors=INK, length=0)
        axes.grid(axis="y", color="#e3e7ea", linewidth=0.8)
        axes.set_axisbelow(True)
        for side in axes.spines.values():
            side.set_visible(False)
        axes.margins(x=0.02)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(file.getvalue(), title)


def _inline(svg: str, title: str) -> Markup:
    """The `<svg>` element alone, without fixed size and metadata, named for screen readers."""
    element = svg[svg.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", element, count=1)
    element = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", element, count=1)
    return Markup(element.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1))

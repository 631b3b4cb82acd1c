"""What all figures of the report share: style, colors that color-blind readers tell apart, and becoming SVG."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.reporting.scores import FLOORS, Model
from training.report.charts import COLORS, REST, inline_svg
from training.report.rendering import one_line

INK = "#4a5560"
GRID = "#e3e7ea"
_NAMES = {INK: "--ink", GRID: "--line"}  # variables of the page that take the place of colors, for its dark mode
WIDTH = 7.0  # inches; of the figures that stand alone
LONGEST = 30  # characters of a name in a figure; the tables have it whole
MOST_MODELS = 6  # in figures of predictions
# Paul Tol's "muted" scheme (https://personal.sron.nl/~pault/), safe for color-blind readers; more classes than it has
# colors take steps of viridis, which is safe too and ordered, as phases are.
_MUTED = ("#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499")
DASHES: dict[str, Any] = {"majority": (0, (1, 1.2)), "random_init": (0, (4, 2)), "histogram": (0, (4, 1.5, 1, 1.5))}


@dataclass(frozen=True)
class Drawing:
    """A finished figure: its file name without folder, its title, and it as a part of the page and as a file."""

    name: str
    title: str
    svg: Markup
    file: str


@contextmanager
def style() -> Iterator[None]:
    """Settings of matplotlib for the figures made inside; names are text, never formulas."""
    with matplotlib.rc_context(
        {
            "svg.fonttype": "none",
            "text.parse_math": False,
            "font.family": "sans-serif",
            "font.size": 8,
            "axes.titlesize": 8,
            "axes.labelcolor": INK,
            "axes.titlecolor": INK,
            "text.color": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "legend.frameon": False,
            "image.composite_image": False,
        }
    ):
        yield


def finish(figure: Figure, name: str, title: str, hovers: Mapping[str, str] | None = None) -> Drawing:
    """The figure as SVG.

    Args:
        figure: drawn within `style`.
        name: of the file, without ending.
        title: for readers of screens, and above it in the page.
        hovers: text shown over the elements that have these identifiers (`Artist.set_gid`).
    """
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        svg = str(inline_svg(figure, title))
    for identifier, text in (hovers or {}).items():
        svg = svg.replace(f'<g id="{identifier}">', f"<g><title>{escape(one_line(text))}</title>", 1)
    inline = svg
    for color, variable in _NAMES.items():
        inline = inline.replace(color, f"var({variable}, {color})")
    return Drawing(f"{name}.svg", title, Markup(inline), f'<?xml version="1.0" encoding="utf-8"?>\n{svg}\n')


def file_name(*parts: object) -> str:
    """A name for a file of letters, digits and hyphens, other for other parts."""
    words = re.sub(r"[^a-z0-9]+", "-", "-".join(str(part) for part in parts).lower()).strip("-")
    digest = hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()
    return f"{words[:72]}-{digest[:6]}"


def shortened(name: str) -> str:
    """A name on one line, cut in its middle if it is long."""
    text = one_line(name)
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]}…{text[-LONGEST // 2 + 1 :]}"
    return f" {text}" if text.startswith("_") else text  # a legend leaves out what begins with "_"


def model_colors(models: Iterable[Model]) -> dict[Model, str]:
    """A color for every model that has learned something, gray for floors."""
    colors = {}
    number = 0
    for model in models:
        colors[model] = REST if model.is_floor else COLORS[number % len(COLORS)]
        number += not model.is_floor
    return colors


def class_colors(count: int) -> list[str]:
    """Colors of `count` classes in their order."""
    if count <= len(_MUTED):
        return list(_MUTED[:count])
    steps = matplotlib.colormaps["viridis"](np.linspace(0, 1, count))
    return [matplotlib.colors.to_hex(color) for color in steps]


def draw_floors(axes: Axes, floors: Mapping[str, float | None], low: float, high: float, *, upright: bool) -> None:
    """Lines of the floors that are defined, from `low` to `high` of the other axis; labelled once for a legend."""
    _, known = axes.get_legend_handles_labels()
    for name in FLOORS:
        value = floors[name]
        if value is not None:
            label = name.replace("_", " ")
            ends = ([value, value], [low, high])
            axes.plot(
                *(ends if upright else ends[::-1]),
                color=INK,
                linewidth=1.1,
                linestyle=DASHES[name],
                label="_" if label in known else label,
            )


def clean(axes: Axes, grid: Literal["x", "y", "both", ""] = "") -> None:
    """No frame and no tick marks; grid lines along "x", "y" or both."""
    axes.tick_params(length=0)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color=GRID, linewidth=0.8)
    for side in axes.spines.values():
        side.set_visible(False)


def chosen_models(models: Sequence[Model]) -> list[Model]:
    """The first `MOST_MODELS` that have learned something."""
    return [model for model in models if not model.is_floor][:MOST_MODELS]

"""How facts become HTML: a Jinja environment in which every name is inert and a missing value is an error."""

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

TEMPLATES = Path(__file__).parent
_BREAKS = re.compile(r"[_/-](?=[^_/\-&])")
# ASCII and C1 control characters, and the marks that reorder text on the screen.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def render(template: str, facts: dict[str, Any]) -> str:
    """Fill a template of this folder; every value is escaped unless it is `Markup`.

    Raises:
        jinja2.UndefinedError: the template asks for a value that is not there.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        finalize=lambda value: one_line(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=True,
    )
    environment.filters.update(count=count, spaced=spaced, breakable=breakable, figure=figure)
    environment.globals.update(percent=percent)
    return environment.get_template(template).render(facts)


def one_line(value: object) -> str:
    """`value` as text on one line: control characters and direction marks become one space each run."""
    return _CONTROL.sub(" ", str(value)).strip()


def count(value: float) -> str:
    """A count with thousands separated: 1234567.4 -> "1,234,567"."""
    return f"{round(value):,}"


def percent(part: float, whole: float) -> str:
    """A share: 1 of 8 -> "12.5 %"; a dash of nothing."""
    return f"{100 * part / whole:.1f} %" if whole else "–"


def figure(value: float | None) -> str:
    """A score with three significant digits: 12.345 -> "12.3"; a dash for none."""
    return "–" if value is None else f"{value:.3g}"


def spaced(name: str) -> str:
    """An identifier as words: "out_of_body" -> "out of body"."""
    return name.replace("_", " ")


def breakable(name: object) -> Markup:
    """`name` as HTML that may break after "_", "/" and "-", so that long names hold together in narrow columns."""
    return Markup(_BREAKS.sub(r"\g<0><wbr>", str(escape(one_line(name)))))

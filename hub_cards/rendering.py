"""How records become text: Jinja environments in which names are inert and a value that is missing is an error."""

import json
import math
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, UndefinedError
from markupsafe import Markup, escape

from hub_cards.licences import meaning
from training.errors import UserError

MINUS = "\N{MINUS SIGN}"  # as wide as a digit, so that columns align
TEMPLATES = Path(__file__).parent / "templates"

# What Markdown could read as structure. Inside words "_", "-", "." and "+" are literal, and escaping them everywhere
# would make the source of the card hard to read, so they are escaped only where they could act.
_ACTIVE = re.compile(r"[\\`*\[\]|~#!$]|(?<![^\W_])_|_(?![^\W_])|^[-+=](?=\s|$|[-=])|^(\d+)(?=[.)](?:\s|$))")
# Signs that make a bare address a link: ":" of a scheme, "." after www, "@".
_AUTOLINK = re.compile(r"(?<=http)[:]|(?<=https)[:]|(?<=ftp)[:]|(?<=mailto)[:]|(?<=www)[.]|@", re.IGNORECASE)
_ADDRESS = re.compile(r"https://(?:huggingface\.co|pypi\.org|github\.com)/[\w./-]+")
_BREAKS = re.compile(r"[_/-](?=[^_/\-&])")
# ASCII and C1 control characters, and the marks that reorder text on the screen.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


class Verbatim(str):
    """Text that is Markdown already and enters a card unchanged."""


def one_line(value: object) -> str:
    """`value` as text on one line: control characters and direction marks become one space each run."""
    return _CONTROL.sub(" ", str(value)).strip()


def markdown_text(value: object) -> Verbatim:
    """`value` as Markdown that shows exactly its characters: no HTML, link, emphasis, table cell or line break acts."""
    if isinstance(value, Verbatim):
        return value
    text = one_line(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = _ACTIVE.sub(_escaped, text)
    return Verbatim(_AUTOLINK.sub(lambda match: f"&#{ord(match.group())};", text))


def _escaped(match: re.Match[str]) -> str:
    """A backslash before a sign; after a number that would start a list."""
    return match.group() + "\\" if match.group(1) else "\\" + match.group()


def link(value: object) -> Verbatim:
    """An address on a site where models and packages live becomes a link; anything else is text."""
    text = one_line(value)
    return Verbatim(f"<{text}>") if _ADDRESS.fullmatch(text) else markdown_text(text)


def code_span(value: object) -> Verbatim:
    """`value` as inline code that also holds in a table cell: backticks become apostrophes, bars are escaped."""
    text = one_line(value).replace("`", "'").replace("|", "\\|")
    return Verbatim(f"`{text or ' '}`")


def python_string(value: str) -> Verbatim:
    """`value` as a string literal for a code block."""
    return Verbatim(json.dumps(one_line(value), ensure_ascii=False))


def markdown_environment() -> Environment:
    """Environment for cards: each value is escaped unless it is `Verbatim`; an undefined value raises."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        finalize=markdown_text,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters.update(code=code_span, link=link, verbatim=Verbatim, python=python_string, **_shared_filters())
    return environment


def html_environment() -> Environment:
    """Environment for reports: HTML escaping everywhere; an undefined value raises."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        finalize=lambda value: one_line(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=True,
    )
    environment.filters.update(breakable=breakable, **_shared_filters())
    return environment


def render(environment: Environment, template: str, facts: dict[str, Any]) -> str:
    """Render `template` with `facts`; a figure that is in no record is a `UserError` naming it."""
    try:
        return environment.get_template(template).render(facts)
    except UndefinedError as error:
        raise UserError(f"{template}: {error.message}; every figure must come from a record") from error


def score(value: float) -> str:
    """A score with three decimals: 0.5 -> "0.500"; "undefined" for NaN."""
    return "undefined" if math.isnan(value) else f"{round(value, 3) + 0.0:.3f}".replace("-", MINUS)


def signed(value: float | None) -> str:
    """A difference with its sign and three decimals; a dash for the student, which is not compared with itself."""
    if value is None:
        return "–"
    # Rounded first: a difference of -0.0001 has no sign at three decimals.
    return "0.000" if round(value, 3) == 0 else f"{value:+.3f}".replace("-", MINUS)


def span(interval: tuple[float, float] | None) -> str:
    """An interval of scores: "0.412 to 0.598"; a dash where there is none (a single test case)."""
    return "–" if interval is None else f"{score(interval[0])} to {score(interval[1])}"


def signed_span(interval: tuple[float, float] | None) -> str:
    """An interval of differences, each end with its sign; a dash where there is none."""
    return "–" if interval is None else f"{signed(interval[0])} to {signed(interval[1])}"


def count(value: int) -> str:
    """A count with thousands separated: 1234567 -> "1,234,567"."""
    return f"{value:,}"


def duration(seconds: float) -> str:
    """A duration in the largest two units that fit: 3725 -> "1 h 2 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def spaced(name: str) -> str:
    """An identifier as words: "mean_iou" -> "mean iou"."""
    return name.replace("_", " ")


def breakable(name: object) -> Markup:
    """`name` as HTML that may break after "_", "/" and "-", so that long names hold together in narrow columns."""
    return Markup(_BREAKS.sub(r"\g<0><wbr>", str(escape(one_line(name)))))


def _shared_filters() -> dict[str, Any]:
    """The filters of both kinds of template: the number formats, `spaced` and `meaning` (of a licence)."""
    return {each.__name__: each for each in (score, signed, span, signed_span, count, duration, spaced, meaning)}

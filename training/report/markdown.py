"""How records become Markdown: a Jinja environment in which names are inert and a missing value is an error."""

import json
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from training.licences import meaning
from training.report.formats import FORMATS
from training.report.rendering import one_line

# What Markdown could read as structure. Inside words "_", "-", "." and "+" are literal, and escaping them everywhere
# would make the source of the card hard to read, so they are escaped only where they could act.
_ACTIVE = re.compile(r"[\\`*\[\]|~#!$]|(?<![^\W_])_|_(?![^\W_])|^[-+=](?=\s|$|[-=])|^(\d+)(?=[.)](?:\s|$))")
# Signs that make a bare address a link: ":" of a scheme, "." after www, "@".
_AUTOLINK = re.compile(r"(?<=http)[:]|(?<=https)[:]|(?<=ftp)[:]|(?<=mailto)[:]|(?<=www)[.]|@", re.IGNORECASE)
_ADDRESS = re.compile(r"https://(?:huggingface\.co|pypi\.org|github\.com)/[\w./-]+")


class Verbatim(str):
    """Text that is Markdown already and enters a card unchanged."""


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


def markdown_environment(folder: Path) -> Environment:
    """Environment for templates of `folder`: values are escaped unless they are `Verbatim`; an undefined one raises."""
    environment = Environment(
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        finalize=markdown_text,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters.update(
        FORMATS, code=code_span, link=link, verbatim=Verbatim, python=python_string, meaning=meaning
    )
    return environment

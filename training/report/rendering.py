"""How facts become HTML: a Jinja environment in which names are inert and a missing value is an error."""

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, UndefinedError
from markupsafe import Markup, escape

from training.errors import UserError
from training.report.formats import FORMATS

SHARED = Path(__file__).parent
_BREAKS = re.compile(r"[_/-](?=[^_/\-&])")
# ASCII and C1 control characters, the marks that reorder text on the screen, and characters that take no place there.
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]+"
)


def one_line(value: object) -> str:
    """`value` as text on one line: control characters and direction marks become one space each run."""
    return _CONTROL.sub(" ", str(value)).strip()


def breakable(name: object) -> Markup:
    """`name` as HTML that may break after "_", "/" and "-", so that long names hold together in narrow columns."""
    return Markup(_BREAKS.sub(r"\g<0><wbr>", str(escape(one_line(name)))))


def html_environment(folder: Path) -> Environment:
    """Environment for pages: every value is escaped unless it is `Markup`; an undefined value raises.

    Args:
        folder: of the page's own templates. They extend `page.html.jinja` of this package, and may import from its
            `figures.html.jinja`.
    """
    environment = Environment(
        loader=FileSystemLoader([folder, SHARED]),
        undefined=StrictUndefined,
        finalize=lambda value: one_line(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=True,
    )
    environment.filters.update(FORMATS, breakable=breakable)
    return environment


def render(environment: Environment, template: str, facts: dict[str, Any]) -> str:
    """Render `template` with `facts`; a figure that is in no record is a `UserError` naming it."""
    try:
        return environment.get_template(template).render(facts)
    except UndefinedError as error:
        raise UserError(f"{template}: {error.message}; every figure must come from a record") from error

"""How scores are written in the tables of a card."""

from collections.abc import Callable, Sized
from typing import Any

from evaluation.reporting.scores import Model, Score
from hub_cards.results import bounds, difference, difference_bounds
from training.report.formats import NONE, count, score, signed, signed_span, span
from training.report.markdown import Verbatim, markdown_text

UNDEFINED = "undefined"


def model_cell(model: Model, student: str) -> Verbatim:
    """A model's name: `student` in bold, others with their role where they are no floor."""
    if model.role == "student":
        return Verbatim(f"**{markdown_text(student)}**")
    return markdown_text(model.label if model.is_floor else f"{model.label} ({model.role})")


def score_cell(found: Score | None, spread: str = "") -> str:
    """A value with its interval over cases; of several runs the mean, the standard deviation, and what bounds them all.

    "0.610 (0.560 to 0.660)", "0.610 ± 0.012 (0.550 to 0.671; 3 subsets)"; a dash where nothing was measured.

    Args:
        found: the score.
        spread: what runs differ in, where the table says it already.
    """
    if found is None:
        return NONE
    if found.mean is None:
        return UNDEFINED
    deviation = f" ± {score(found.deviation)}" if found.deviation is not None else ""
    return f"{score(found.mean)}{deviation} ({span(bounds(found))}{_stated(found, spread)})"


def difference_cell(found: Score | None, spread: str = "") -> str:
    """Student minus this model with its interval; of several runs the mean, and what bounds all intervals."""
    if found is None or found.model.role == "student":
        return NONE
    gap = difference(found)
    if gap is None:
        return UNDEFINED
    return f"{signed(gap)} ({signed_span(difference_bounds(found))}{_stated(found, spread)})"


def _stated(found: Score, spread: str) -> str:
    """What runs differ in, unless the table says it."""
    return "" if found.spread_over == spread else f"; {found.spread_over or 'one run'}"


def floor_cell(found: Score, name: str) -> str:
    """The value of a floor under the same measure."""
    value = found.floor(name)
    return UNDEFINED if value is None else score(value)


def count_of(items: Sized) -> str:
    """How many there are, with thousands separated."""
    return count(len(items))


RESULT_FILTERS: dict[str, Callable[..., Any]] = {
    each.__name__: each for each in (model_cell, score_cell, difference_cell, floor_cell, count_of)
}

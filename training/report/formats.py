"""How numbers and identifiers are written in pages and cards."""

import math
from collections.abc import Callable

MINUS = "\N{MINUS SIGN}"  # as wide as a digit, so that columns align
NONE = "–"  # stands where there is no value


def score(value: float) -> str:
    """A score with three decimals: 0.5 -> "0.500"; "undefined" for NaN."""
    return "undefined" if math.isnan(value) else f"{round(value, 3) + 0.0:.3f}".replace("-", MINUS)


def signed(value: float | None) -> str:
    """A difference with its sign and three decimals; a dash for the student, which is not compared with itself."""
    if value is None:
        return NONE
    # Rounded first: a difference of -0.0001 has no sign at three decimals.
    return "0.000" if round(value, 3) == 0 else f"{value:+.3f}".replace("-", MINUS)


def span(interval: tuple[float, float] | None) -> str:
    """An interval of scores: "0.412 to 0.598"; a dash where there is none (a single test case)."""
    return NONE if interval is None else f"{score(interval[0])} to {score(interval[1])}"


def signed_span(interval: tuple[float, float] | None) -> str:
    """An interval of differences, each end with its sign; a dash where there is none."""
    return NONE if interval is None else f"{signed(interval[0])} to {signed(interval[1])}"


def count(value: float) -> str:
    """A count with thousands separated: 1234567.4 -> "1,234,567"."""
    return f"{round(value):,}"


def percent(part: float, whole: float) -> str:
    """A share: 1 of 8 -> "12.5 %"; a dash of nothing."""
    return f"{100 * part / whole:.1f} %" if whole else NONE


def figure(value: float | None) -> str:
    """A number with three significant digits: 12.345 -> "12.3"; a dash for none."""
    return NONE if value is None else f"{value:.3g}"


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


# Filters of every template, under the names of the functions.
FORMATS: dict[str, Callable[..., str]] = {
    each.__name__: each for each in (score, signed, span, signed_span, count, percent, figure, duration, spaced)
}

"""Charts are inline and reproducible; histograms count every value, lines show every point."""

import math
import re

import numpy as np
import pytest

from training.report.charts import Interval, Line, Series, _edges, histogram, interval_chart, line_chart

DRAWN = {
    "histogram": lambda: histogram("<A & B>", "x", [Series("a", "#0072B2", np.array([1.0, 2.0, np.nan]))], mark=1.5),
    "lines": lambda: line_chart("<A & B>", "x", [Line("a", "#0072B2", [0, 1], [1.0, 2.0])], mark=0.0),
    "intervals": lambda: interval_chart("<A & B>", "x", {"a": [Interval("#0072B2", 1.0, 0.5, 2.0)]}, mark=0.0),
}


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_an_inline_picture_of_its_own(draw):
    chart = draw()
    assert chart.title == "<A & B>"
    assert chart.svg.startswith('<svg role="img" aria-label="&lt;A &amp; B&gt;"')
    for foreign in ("<metadata", "<?xml", "<!DOCTYPE", "<image"):
        assert foreign not in chart.svg
    assert not re.search(r'<svg[^>]* (width|height)="', chart.svg)
    assert "#0072b2" in chart.svg
    assert draw().svg == chart.svg


def test_a_single_or_undefined_point_is_drawn_without_complaint():
    for values in ([0.5], [math.nan]):
        assert "<svg" in line_chart("one", "step", [Line("a", "#0072B2", [3], values)]).svg
    # Each line is one path, and ends in a dot unless its end is not known; the mark is one more dashed path.
    ends = [line_chart("ends", "step", [Line("a", "#0072B2", [0, 1], [0.0, end])]).svg for end in (1.0, math.nan)]
    assert [svg.count("<use") - ends[1].count("<use") for svg in ends] == [1, 0]
    line = [Line("a", "#0072B2", [0, 1], [0.0, 1.0])]
    marked, plain = (line_chart("mark", "step", line, mark=mark).svg for mark in (0.5, None))
    assert marked.count("stroke-dasharray") - plain.count("stroke-dasharray") == 1


def test_every_value_has_a_dot_and_those_with_an_interval_a_line():
    bare, spread = Interval("#D55E00", 0.2), Interval("#D55E00", 0.2, 0.1, 0.3)
    drawings = [interval_chart("values", "x", {"first": [bare] * 2, "last": [last]}).svg for last in (bare, spread)]
    assert "first" in drawings[0]
    # Dots are filled, lines are not.
    assert [svg.count("fill: #d55e00; stroke") for svg in drawings] == [3, 3]
    assert [svg.count("stroke: #d55e00; stroke-width: 1.8") for svg in drawings] == [0, 1]


def test_logarithmic_axes_take_powers_of_ten():
    line = [Line("a", "#0072B2", [1, 10, 100], [1.0, 0.1, 0.01])]
    assert line_chart("log", "rank", line, logarithmic=True).svg != line_chart("log", "rank", line).svg


def test_bins_hold_all_values_and_the_mark():
    assert _edges(np.array([2.0, 10.0]), logarithmic=False)[[0, 40]].tolist() == [2, 10]
    assert _edges(np.array([3.0]), logarithmic=False)[[0, 40]].tolist() == [2.5, 3.5]
    ratios = np.diff(np.log(_edges(np.array([0.0, 1.0, 100.0]), logarithmic=True)))
    assert ratios == pytest.approx(np.full(40, np.log(100) / 40))
    assert len(_edges(np.zeros(3), logarithmic=True)) == 41
    assert len(_edges(np.zeros(0), logarithmic=False)) == 41

"""Histograms: what is counted where."""

import re

import numpy as np
import pytest

from training.corpus.report.charts import Series, _edges, histogram


def test_an_inline_picture_of_its_own():
    chart = histogram("<A & B>", "x", [Series("a", "#0072B2", np.array([1.0, 2.0, np.nan]))], mark=1.5)
    assert chart.svg.startswith('<svg role="img" aria-label="&lt;A &amp; B&gt;"')
    assert "<metadata" not in chart.svg
    assert not re.search(r'<svg[^>]* (width|height)="', chart.svg)
    again = histogram("<A & B>", "x", [Series("a", "#0072B2", np.array([1.0, 2.0, np.nan]))], mark=1.5)
    assert again.svg == chart.svg


def test_bins_hold_all_values_and_the_mark():
    assert _edges(np.array([2.0, 10.0]), logarithmic=False)[[0, 40]].tolist() == [2, 10]
    assert _edges(np.array([3.0]), logarithmic=False)[[0, 40]].tolist() == [2.5, 3.5]
    ratios = np.diff(np.log(_edges(np.array([0.0, 1.0, 100.0]), logarithmic=True)))
    assert ratios == pytest.approx(np.full(40, np.log(100) / 40))
    assert len(_edges(np.zeros(3), logarithmic=True)) == 41
    assert len(_edges(np.zeros(0), logarithmic=False)) == 41

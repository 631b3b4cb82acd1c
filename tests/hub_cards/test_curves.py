"""Every measure and every teacher has its line."""

from dataclasses import replace

import pytest

from hub_cards.curves import agreement_charts, loss_chart, teacher_colors
from hub_cards.run_records import read_run


@pytest.fixture
def run(files):
    return read_run(files.run)


def test_one_chart_per_measure_and_kind_of_token(run):
    assert [chart.title for chart in agreement_charts(run)] == [
        "Explained variance, dense tokens",
        "Centered cosine, dense tokens",
        "Explained variance, summary tokens",
        "Centered cosine, summary tokens",
    ]
    assert [chart.title for chart in loss_chart(run)] == ["Training loss, weighted sum"]
    colors = teacher_colors(run)
    assert list(colors) == ["lite", "dino"]
    for chart in agreement_charts(run):
        assert all(color.lower() in chart.svg for color in colors.values())


def test_what_was_not_measured_has_no_chart(run):
    dense = tuple(point for point in run.agreement if point.tokens == "dense")
    assert len(agreement_charts(replace(run, agreement=dense))) == 2
    train = tuple(point for point in run.agreement if point.split == "train")
    assert agreement_charts(replace(run, agreement=train)) == []
    assert loss_chart(replace(run, losses=())) == []

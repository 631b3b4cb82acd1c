"""Numbers read well."""

import pytest

from training.report.formats import count, duration, figure, percent, score, signed, signed_span, spaced, span


def test_scores_and_their_differences():
    assert score(0.5) == "0.500"
    assert score(-0.1234) == "−0.123"
    assert score(float("nan")) == "undefined"
    assert score(-0.0001) == "0.000"
    assert signed(0.05) == "+0.050"
    assert signed(-0.05) == "−0.050"
    assert signed(None) == "–"
    assert signed(-0.0001) == "0.000"
    assert span((0.1, 0.25)) == "0.100 to 0.250"
    assert span(None) == "–"
    assert signed_span((-0.1, 0.25)) == "−0.100 to +0.250"
    assert signed_span(None) == "–"


def test_counts_shares_and_measurements():
    assert count(1234567) == "1,234,567"
    assert count(1234567.4) == "1,234,567"
    assert percent(1, 8) == "12.5 %"
    assert percent(0, 0) == "–"
    assert figure(12.345) == "12.3"
    assert figure(None) == "–"
    assert spaced("out_of_body") == "out of body"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.25, "3.2 s"), (59.6, "1 min 0 s"), (75, "1 min 15 s"), (3725, "1 h 2 min"), (90000, "25 h 0 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text

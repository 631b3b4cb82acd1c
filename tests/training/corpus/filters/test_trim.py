"""Trimming the ends of a video."""

import numpy as np
import pytest

from training.corpus.filters import Timeline
from training.corpus.filters.trim import TrimFilter, TrimSettings

REASONS = {".": "", "o": "out_of_body", "b": "black", "d": "duplicate", "f": "frozen", "x": "truncated"}


def trimmed(text: str, step: float = 1.0, seconds: float = 3.0) -> str:
    """One letter per sample, see `REASONS`; "T" in the answer where the filter drops."""
    judge = TrimFilter(TrimSettings(seconds=seconds))
    scores = np.array(judge.score([]) + [float("nan")] * len(text))
    timeline = Timeline(np.arange(len(text)) * step, tuple(REASONS[letter] for letter in text))
    drops = judge.drops(scores, timeline) & timeline.kept
    return "".join("T" if dropped else letter for letter, dropped in zip(text, drops, strict=True))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("..o....o.o...b.", "TTo....o.o...bT"),  # what lies between two runs stays
        ("....", "...."),
        ("..", ".."),  # shorter than the seconds, but nothing says that it is no operation
        ("o..o..o", "o..o..o"),  # no run anywhere: left alone
        (".o.d.o.", "To.d.oT"),  # a repetition is informative
        (".o.f.x.", "To.f.xT"),
    ],
)
def test_ends_are_trimmed_up_to_three_informative_seconds(before, after):
    assert trimmed(before) == after


def test_seconds_count_and_not_samples():
    assert trimmed(".o..o", step=30.0) == ".o..o"
    assert trimmed("..o......", step=0.5) == "TTo......"
    assert trimmed("..o.....o", step=0.5) == "..o.....o"  # 2.5 s


def test_stills_without_times_are_left_alone():
    assert trimmed(".o....", step=0.0) == ".o...."

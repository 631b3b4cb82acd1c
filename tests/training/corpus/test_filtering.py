"""The filters over one unit: batches, missing frames, precedence."""

from collections.abc import Sequence

import numpy as np
import pytest

from training.corpus import filtering
from training.corpus.clips import Verdict
from training.corpus.filtering import BATCH, FilterPass
from training.corpus.filters import Filter, FilterSettings, Picture, Timeline


class DarkFilter:
    """Drops what is darker than its limit and remembers what it was shown."""

    def __init__(self, name: str, limit: float) -> None:
        self.name, self.threshold = name, limit
        self.batches: list[int] = []
        self.timelines: list[Timeline] = []

    def score(self, pictures: Sequence[Picture]) -> list[float]:
        self.batches.append(len(pictures))
        return [picture.luma for picture in pictures]

    def drops(self, scores: np.ndarray, timeline: Timeline) -> np.ndarray:
        self.timelines.append(timeline)
        return scores < self.threshold


class LastFilter(DarkFilter):
    """Drops the last frame without a score."""

    def score(self, pictures: Sequence[Picture]) -> list[float]:
        return [float("nan")] * len(pictures)

    def drops(self, scores: np.ndarray, timeline: Timeline) -> np.ndarray:
        return np.arange(len(scores)) == len(scores) - 1


def run(monkeypatch: pytest.MonkeyPatch, filters: list[Filter], levels: Sequence[int | None]) -> list[Verdict | None]:
    """Verdicts on plain gray frames, one second apart; `None` is a missing frame."""
    monkeypatch.setattr(filtering, "build_filters", lambda settings: filters)
    passed = FilterPass(FilterSettings())
    for position, level in enumerate(levels):
        passed.add(None if level is None else Picture(np.full((8, 8, 3), level, np.uint8), float(position)))
    missing = [Verdict("damaged") if level is None else None for level in levels]
    return passed.verdicts([float(position) for position in range(len(levels))], missing)


def test_the_first_filter_gives_the_reason_and_the_next_ones_are_told(monkeypatch):
    strict, loose = DarkFilter("strict", 50.0), DarkFilter("loose", 100.0)
    verdicts = run(monkeypatch, [strict, loose], [10, 80, None, 200])
    assert verdicts == [Verdict("strict", 10.0, 50.0), Verdict("loose", 80.0, 100.0), Verdict("damaged"), None]
    assert strict.timelines[0].reasons == ("", "", "damaged", "")
    assert loose.timelines[0].reasons == ("strict", "", "damaged", "")
    assert loose.timelines[0].times.tolist() == [0.0, 1.0, 2.0, 3.0]


def test_frames_are_scored_in_batches_and_stay_in_their_places(monkeypatch):
    judge = DarkFilter("dark", 50.0)
    levels = [None, *range(40, 40 + BATCH), None, 30]
    verdicts = run(monkeypatch, [judge], levels)
    assert judge.batches == [BATCH - 1, 2]
    dropped = [position for position, verdict in enumerate(verdicts) if verdict and verdict.reason == "dark"]
    assert dropped == [*range(1, 11), len(levels) - 1]  # 40 ... 49, and 30


def test_a_drop_without_a_score_has_none(monkeypatch):
    assert run(monkeypatch, [LastFilter("last", 3.0)], [5, 5])[1] == Verdict("last", None, 3.0)

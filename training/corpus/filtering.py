"""The filters over one unit: frames go in one by one, verdicts come out when all have been seen."""

from collections.abc import Sequence

import numpy as np

from training.corpus.clips import Verdict
from training.corpus.filters import CutDetector, FilterSettings, Picture, Timeline, build_filters

BATCH = 16  # frames scored at once: enough for a classifier to work in batches, 6 MB at 256 pixels


class FilterPass:
    """Scores the frames of one unit and decides which are dropped and where scenes begin.

    `add` takes every sample in time order, `None` for one without a frame; then `verdicts` decides, then `breaks`.
    """

    def __init__(self, settings: FilterSettings) -> None:
        self._filters = build_filters(settings)
        self._cuts = CutDetector(settings.cuts) if settings.cuts.enabled else None
        self._scores: list[list[float]] = [[] for _ in self._filters]
        self._changes: list[float] = []
        self._waiting: list[Picture | None] = []

    def add(self, picture: Picture | None) -> None:
        """Take the next sample."""
        self._waiting.append(picture)
        if len(self._waiting) == BATCH:
            self._score_waiting()

    def verdicts(self, times: Sequence[float], missing: Sequence[Verdict | None]) -> list[Verdict | None]:
        """One verdict per sample, `None` for those that stay. Where several filters would drop, the first one does.

        Args:
            times: seconds of each sample.
            missing: why a sample has no frame; `None` where there is one.
        """
        self._score_waiting()
        verdicts = list(missing)
        for judge, scored in zip(self._filters, self._scores, strict=True):
            scores = np.array(scored, np.float64)
            timeline = _timeline(times, verdicts)
            for position in np.flatnonzero(judge.drops(scores, timeline) & timeline.kept).tolist():
                score = None if np.isnan(scores[position]) else float(scores[position])
                verdicts[position] = Verdict(judge.name, score, judge.threshold)
        return verdicts

    def breaks(self, times: Sequence[float], verdicts: Sequence[Verdict | None]) -> frozenset[int]:
        """Positions of the kept samples that begin a new scene, given what `verdicts` answered."""
        if self._cuts is None:
            return frozenset()
        return self._cuts.breaks(np.array(self._changes, np.float64), _timeline(times, verdicts))

    def _score_waiting(self) -> None:
        pictures = [picture for picture in self._waiting if picture is not None]
        scorers = [(judge.score, scores) for judge, scores in zip(self._filters, self._scores, strict=True)]
        if self._cuts is not None:
            scorers.append((self._cuts.score, self._changes))
        for score, scores in scorers:
            answers = iter(score(pictures))
            scores += [float("nan") if picture is None else next(answers) for picture in self._waiting]
        self._waiting = []


def _timeline(times: Sequence[float], verdicts: Sequence[Verdict | None]) -> Timeline:
    return Timeline(np.array(times, np.float64), tuple(verdict.reason if verdict else "" for verdict in verdicts))

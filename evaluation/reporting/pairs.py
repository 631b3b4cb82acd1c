"""Every two models of a task against each other, on the same resampled cases."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

import numpy as np

from evaluation.records import Interval
from evaluation.reporting.resampling import Resampler, mean_over_runs
from evaluation.reporting.scores import Measure, Model, Score
from training.bootstrap import percentiles


@dataclass(frozen=True)
class Pair:
    """A difference first minus second, and its 95 % interval over cases (`None` with a single case).

    `recomputed`: from both models' predictions; otherwise as a record states it.
    """

    first: Model
    second: Model
    measure: Measure
    difference: float
    interval: Interval | None
    recomputed: bool

    @property
    def verdict(self) -> str | None:
        """Whether the first is better ("up"), worse ("down") or not shown to differ ("even"); `None` if unknown."""
        if self.interval is None:
            return None
        low, high = self.interval
        if low <= 0 <= high:
            return "even"
        return "up" if (low > 0) == self.measure.higher_is_better else "down"

    def turned(self) -> "Pair":
        """The same, second minus first."""
        interval = None if self.interval is None else (-self.interval[1], -self.interval[0])
        return Pair(self.second, self.first, self.measure, -self.difference, interval, self.recomputed)


def pair_up(scores: Sequence[Score], resampler: Resampler) -> list[Pair]:
    """All pairs that can be compared, in the order of the scores.

    Args:
        scores: of one measure under one condition.
        resampler: gives values of those that have predictions. Several seeds or subsets are compared as the mean of
            those that both models have.
    """
    values = {score.model: resampler.values(score) for score in scores}
    pairs = []
    for first, second in combinations(scores, 2):
        both = values[first.model], values[second.model]
        if all(both):
            means = mean_over_runs(both)
            gaps = means[0] - means[1]
            if not np.isnan(gaps[0]):
                several = len(first.records[0].split.test_cases) > 1
                interval = percentiles(gaps[1:]) if several else None
                pairs.append(Pair(first.model, second.model, first.measure, float(gaps[0]), interval, True))
        else:
            stated = _as_stated(first, second)
            pairs += [stated] if stated else []
    return pairs


def _as_stated(first: Score, second: Score) -> Pair | None:
    """What the records of one say of it against the student; an interval only of a single run."""
    for student, other in ((first, second), (second, first)):
        paired = [record.paired for record in other.records if record.paired is not None]
        ours = [each for each in paired if each.against_sha256 == student.model.weights_sha256]
        differences = [each.difference for each in ours if each.difference is not None]
        if student.model.role != "student" or not differences:
            continue
        interval = ours[0].interval if len(ours) == 1 else None
        pair = Pair(student.model, other.model, first.measure, fmean(differences), interval, False)
        return pair if student is first else pair.turned()
    return None

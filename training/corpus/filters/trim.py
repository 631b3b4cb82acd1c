"""Uninformative ends of a video: what comes before and after the operation itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.corpus.filters.hysteresis import runs_above
from training.corpus.filters.picture import Picture, Timeline

# A frame that is dropped because it shows again what was shown before still shows the operation.
REPEATS = frozenset({"frozen", "duplicate"})


@dataclass(frozen=True)
class TrimSettings:
    """Settings of the trimming of ends."""

    enabled: bool = True
    seconds: float = 3.0  # of informative frames in a row that open and close the operation; as in the LEMON pipeline


class TrimFilter:
    """No score. Drops what lies before the first and after the last `seconds` of informative frames in a row.

    Informative is what other filters keep or drop as a mere repetition. A run lasts from its first to its last sample
    plus one sampling step. A video without any such run is left alone: nothing says where its operation is. So is one
    without uninformative frames, and stills without times.
    """

    name = "trim"

    def __init__(self, settings: TrimSettings) -> None:
        self.threshold = settings.seconds

    def score(self, pictures: Sequence[Picture]) -> list[float]:
        """NaN for every frame: the verdicts of the other filters decide."""
        return [float("nan")] * len(pictures)

    def drops(self, scores: np.ndarray, timeline: Timeline) -> np.ndarray:
        """Which samples to drop: bool (N,)."""
        informative = np.array([not reason or reason in REPEATS for reason in timeline.reasons], np.float64)
        operation = np.flatnonzero(runs_above(informative, timeline.times, 1.0, 1.0, self.threshold))
        outside = np.zeros(len(scores), bool)
        if len(operation) and timeline.times[-1] > timeline.times[0]:
            outside[: operation[0]] = True
            outside[operation[-1] + 1 :] = True
        return outside

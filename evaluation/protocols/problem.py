"""What a protocol is given: samples of each side with their targets, whatever dataset they come from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.datasets.samples import Target
from evaluation.frames import AnyFrame
from evaluation.predictions import runs


@dataclass(frozen=True)
class Samples:
    """The samples of one side, in the order of their videos and of time within them.

    Attributes:
        frames: of each of N samples, one or several in order of time.
        cases: of each sample.
        videos: name of the video of each sample; those of one video follow each other.
        seconds: float64 (N,), time of each sample in its video; 0 where samples are not in time.
        targets: as `Target.check` wants them.
    """

    frames: tuple[tuple[AnyFrame, ...], ...]
    cases: tuple[str, ...]
    videos: tuple[str, ...]
    seconds: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.frames)

    def take(self, rows: Sequence[int] | np.ndarray) -> "Samples":
        """The samples of some rows, in that order."""
        rows = [int(row) for row in rows]
        return Samples(
            tuple(self.frames[row] for row in rows),
            tuple(self.cases[row] for row in rows),
            tuple(self.videos[row] for row in rows),
            self.seconds[rows],
            self.targets[rows],
        )

    def sequences(self) -> list[slice]:
        """The rows of each video."""
        return runs(self.videos)

    def __add__(self, other: "Samples") -> "Samples":
        return Samples(
            self.frames + other.frames,
            self.cases + other.cases,
            self.videos + other.videos,
            np.concatenate([self.seconds, other.seconds]),
            np.concatenate([self.targets, other.targets]),
        )


@dataclass(frozen=True)
class Problem:
    """What a probe is fitted to (`train`), chosen on (`val`, may be empty) and asked about (`test`).

    Scores that answer it are finite float (N_test, C): for "single" the higher the likelier the class, for "multi" log
    odds of each column (or another score whose sign decides), for "value" the values.
    """

    target: Target
    train: Samples
    val: Samples
    test: Samples

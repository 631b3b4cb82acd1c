"""A measure with its 95 % interval over videos."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from training.bootstrap import draw_counts, percentiles


@dataclass(frozen=True)
class Estimate:
    """A value and its interval.

    Attributes:
        value: `None` where it is undefined.
        low, high: ends of the interval; `None` where no resample defines it.
        note: why there is no value.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""


class VideoBootstrap:
    """Resamples of the videos that frames belong to. Draw 0 is no resample: every video counts once.

    Measures are computed for all draws, as float64 `(1 + resamples,)`, so that those of one frame set can be added and
    subtracted draw by draw before `estimate` makes an interval of them.

    Args:
        videos: int (N,), video of each frame, from 0 to V - 1.
        seed: of the draws.
        resamples: how many.
    """

    def __init__(self, videos: np.ndarray, seed: int, resamples: int) -> None:
        self.videos = videos
        self.count = int(videos.max()) + 1
        self._weights = np.concatenate([np.ones((1, self.count), np.int64), draw_counts(self.count, seed, resamples)])

    def ratios(self, numerators: np.ndarray, denominators: np.ndarray | None = None) -> np.ndarray:
        """Σ numerators / Σ denominators over the frames of each draw; NaN where nothing is counted.

        Args:
            numerators: (N,); frames where it is NaN count nowhere.
            denominators: (N,); `None`: 1 each, so that the ratio is the mean over frames.
        """
        counted = ~np.isnan(numerators)
        below = np.ones(len(numerators)) if denominators is None else denominators
        sums = [
            self._weights @ np.bincount(self.videos[counted], weights=part[counted], minlength=self.count)
            for part in (numerators, below)
        ]
        return np.divide(sums[0], sums[1], out=np.full(len(sums[0]), np.nan), where=sums[1] > 0)

    def each(self, measure: Callable[[np.ndarray], float], rows: np.ndarray | None = None) -> np.ndarray:
        """A measure that takes how often each frame counts, int (N,), computed on every draw.

        Args:
            measure: of the weights.
            rows: int (M,), the frames that it is about; `None`: all.
        """
        videos = self.videos if rows is None else self.videos[rows]
        return np.array([measure(weights[videos]) for weights in self._weights])

    def of_videos(self, values: np.ndarray) -> np.ndarray:
        """The mean over videos of one value each, float (V,); a video whose value is NaN counts nowhere."""
        defined = ~np.isnan(values)
        counts = self._weights @ defined.astype(np.float64)
        sums = self._weights @ np.where(defined, values, 0.0)
        return np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)


def estimate(draws: np.ndarray, *, shifted: bool = False) -> Estimate:
    """The value of draw 0 with the percentile interval of the others.

    Args:
        draws: (1 + resamples,).
        shifted: take the mean difference between resamples and value off the interval. A resample of videos holds fewer
            different frames, so ranks and neighborhoods come out lower in all of them, which is no uncertainty.
    """
    value, resampled = float(draws[0]), draws[1:]
    if np.isnan(value):
        return Estimate(None, note="undefined: the features do not vary")
    if shifted and not np.isnan(resampled).all():
        resampled = resampled - (np.nanmean(resampled) - value)
    low, high = percentiles(resampled) or (None, None)
    return Estimate(value, low, high)

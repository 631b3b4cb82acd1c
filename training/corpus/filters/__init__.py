"""Frame filters, one per file. A new one is its file, a field of `FilterSettings` and a line of `build_filters`."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from training.corpus.filters.black import BlackFilter, BlackSettings
from training.corpus.filters.frozen import FrozenFilter, FrozenSettings

__all__ = ["Filter", "FilterSettings", "build_filters"]


@dataclass(frozen=True)
class FilterSettings:
    """Settings of all filters. Where several would drop a frame, the first in this order gives the reason."""

    black: BlackSettings = field(default_factory=BlackSettings)
    frozen: FrozenSettings = field(default_factory=FrozenSettings)


class Filter(Protocol):
    """What curation asks of a filter; it makes one instance per video.

    `score` sees every sampled frame once, in time order, cropped to the field of view and resized as it will be stored.
    `drops` then decides with the scores of the whole video before it, so a filter may use percentiles or hysteresis.
    """

    name: str  # the reason in drops.parquet
    threshold: float  # what scores were compared with

    def score(self, frame: np.ndarray, timestamp: float) -> float:
        """Score of one frame, uint8 (H, W, 3) RGB at `timestamp` seconds; NaN when the filter cannot say."""
        ...

    def drops(self, scores: np.ndarray) -> np.ndarray:
        """Which samples to drop: bool (N,) for scores float64 (N,)."""
        ...


def build_filters(settings: FilterSettings) -> list[Filter]:
    """Fresh instances of the enabled filters, in order of precedence."""
    filters: list[Filter] = []
    if settings.black.enabled:
        filters.append(BlackFilter(settings.black))
    if settings.frozen.enabled:
        filters.append(FrozenFilter(settings.frozen))
    return filters

"""Frame filters, one per file. A new one is its file, a field of `FilterSettings` and a line of `build_filters`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from training.corpus.filters.black import BlackFilter, BlackSettings
from training.corpus.filters.blur import BlurFilter, BlurSettings
from training.corpus.filters.cuts import CutDetector, CutSettings
from training.corpus.filters.duplicate import DuplicateFilter, DuplicateSettings
from training.corpus.filters.frozen import FrozenFilter, FrozenSettings
from training.corpus.filters.out_of_body import OutOfBodyFilter, OutOfBodySettings
from training.corpus.filters.picture import Picture, Timeline
from training.corpus.filters.screen import ScreenFilter, ScreenSettings
from training.corpus.filters.trim import TrimFilter, TrimSettings
from training.corpus.filters.white import WhiteFilter, WhiteSettings

__all__ = ["CutDetector", "Filter", "FilterSettings", "Picture", "Timeline", "build_filters"]


@dataclass(frozen=True)
class FilterSettings:
    """Settings of all filters. Where several would drop a frame, the first in this order gives the reason.

    `cuts` drops nothing; it finds where a new clip starts.
    """

    black: BlackSettings = field(default_factory=BlackSettings)
    white: WhiteSettings = field(default_factory=WhiteSettings)
    frozen: FrozenSettings = field(default_factory=FrozenSettings)
    out_of_body: OutOfBodySettings = field(default_factory=OutOfBodySettings)
    screen: ScreenSettings = field(default_factory=ScreenSettings)
    blur: BlurSettings = field(default_factory=BlurSettings)
    duplicate: DuplicateSettings = field(default_factory=DuplicateSettings)
    trim: TrimSettings = field(default_factory=TrimSettings)
    cuts: CutSettings = field(default_factory=CutSettings)


class Filter(Protocol):
    """What curation asks of a filter; it makes one instance per video.

    `score` sees every sampled frame once, in time order, a batch at a time. `drops` then decides with the scores of the
    whole video before it, so a filter may use percentiles or hysteresis; the timeline tells it what earlier filters
    have dropped. One that needs no score answers NaN for every frame.
    """

    name: str  # the reason in drops.parquet
    threshold: float  # what scores were compared with; read after `drops`

    def score(self, pictures: Sequence[Picture]) -> list[float]:
        """One score per frame of a batch; NaN where the filter cannot say."""
        ...

    def drops(self, scores: np.ndarray, timeline: Timeline) -> np.ndarray:
        """Which samples to drop: bool (N,) for scores float64 (N,), NaN where there is no frame."""
        ...


def build_filters(settings: FilterSettings) -> list[Filter]:
    """Fresh instances of the enabled filters, in order of precedence."""
    filters: list[Filter] = []
    if settings.black.enabled:
        filters.append(BlackFilter(settings.black))
    if settings.white.enabled:
        filters.append(WhiteFilter(settings.white))
    if settings.frozen.enabled:
        filters.append(FrozenFilter(settings.frozen))
    if settings.out_of_body.enabled:
        filters.append(OutOfBodyFilter(settings.out_of_body))
    if settings.screen.enabled:
        filters.append(ScreenFilter(settings.screen))
    if settings.blur.enabled:
        filters.append(BlurFilter(settings.blur))
    if settings.duplicate.enabled:
        filters.append(DuplicateFilter(settings.duplicate))
    if settings.trim.enabled:
        filters.append(TrimFilter(settings.trim))
    return filters

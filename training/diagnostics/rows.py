"""One figure of the report, and how the figures of one frame set are made."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from training.diagnostics.intervals import Estimate, VideoBootstrap, estimate


@dataclass(frozen=True)
class Row:
    """One measure of one model.

    Attributes:
        measure: name of the formula.
        model: name of the subject.
        value, low, high, note: see `Estimate`.
        teacher: whom it is measured against, where it is measured against one.
        tokens: "frame" (one vector per frame), "summary" or "dense".
        variant: what else tells rows of one measure apart: a warp, a size, a k.
        chance: what an ignorant model scores, where that is known.
        most: the largest value possible, where the number of frames or the width sets it.
    """

    measure: str
    model: str
    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""
    teacher: str = ""
    tokens: str = ""
    variant: str = ""
    chance: float | None = None
    most: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, without what is not said."""
        return {key: value for key, value in asdict(self).items() if value not in ("", None) or key == "value"}


@dataclass(frozen=True)
class RowMaker:
    """Makes rows of one model on one frame set."""

    model: str
    bootstrap: VideoBootstrap

    def of(self, measure: str, found: Estimate, **facts: Any) -> Row:
        """A row of an estimate; `facts` are further fields of `Row`."""
        return Row(measure, self.model, found.value, found.low, found.high, found.note, **facts)

    def missing(self, measure: str, note: str, **facts: Any) -> Row:
        """A row without a value, and why."""
        return Row(measure, self.model, None, note=note, **facts)

    def mean(self, measure: str, values: np.ndarray, **facts: Any) -> Row:
        """The mean of one value per frame (N,); NaN frames count nowhere."""
        return self.of(measure, estimate(self.bootstrap.ratios(values)), **facts)

    def ratio(self, measure: str, numerators: np.ndarray, denominators: np.ndarray, **facts: Any) -> Row:
        """A ratio of sums over frames."""
        return self.of(measure, estimate(self.bootstrap.ratios(numerators, denominators)), **facts)

    def whole(
        self, measure: str, value: Callable[[np.ndarray], float], rows: np.ndarray | None = None, **facts: Any
    ) -> Row:
        """A measure of all frames at once, as a function of how often each counts; see `VideoBootstrap.each`."""
        return self.of(measure, estimate(self.bootstrap.each(value, rows), shifted=True), **facts)


def at(rows: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Values (M,) of some frames among all, float64 (count,); NaN elsewhere."""
    spread = np.full(count, np.nan)
    spread[rows] = values
    return spread

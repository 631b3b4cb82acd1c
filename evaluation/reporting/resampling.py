"""Metrics on resampled test cases, computed anew from predictions: what differences and ranks are made of."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from evaluation.predictions import Predictions, read_predictions
from evaluation.reporting.results import Found
from evaluation.reporting.scores import Run, Score
from evaluation.scoring import Measured, score
from training.bootstrap import RESAMPLES, draw_counts
from training.errors import UserError

# Scores are stored as float32, so ties may break otherwise than when the record was made.
TOLERANCE = 1e-3

Scorer = Callable[[Predictions], Sequence[Measured]]


class Resampler:
    """Values of scores on all cases and on the same resampled cases for every model of a task.

    Tasks of one dataset with the same test cases share their draws, others are drawn independently.

    Attributes:
        problems: why some values cannot be computed, a sentence each, without repetitions.
    """

    def __init__(self, scorer: Scorer = score) -> None:
        self.problems: list[str] = []
        self._scorer = scorer
        self._values: dict[tuple[Path, str, str, bool], np.ndarray | None] = {}
        self._last: tuple[Path, Sequence[Measured]] | None = None

    def values(self, score: Score) -> dict[Run, np.ndarray]:
        """Of each run that has usable predictions: float64 (1 + `RESAMPLES`,), the first over all cases; NaN if
        undefined."""
        computed = {run: self._value(found) for run, found in score.runs.items()}
        return {run: values for run, values in computed.items() if values is not None}

    def _value(self, found: Found) -> np.ndarray | None:
        path, record = found.predictions, found.record
        if path is None:
            return None
        key = path, record.metric, record.variant, record.value is None
        if key not in self._values:
            try:
                self._values[key] = self._compute(path, found)
            except UserError as error:
                self._values[key] = None
                if str(error) not in self.problems:
                    self.problems.append(str(error))
        return self._values[key]

    def _compute(self, path: Path, found: Found) -> np.ndarray:
        record = found.record
        measured = next(
            (m for m in self._measured(path) if (m.metric, m.variant) == (record.metric, record.variant)), None
        )
        where = f"{record.task} ({record.model}, {record.protocol}, {record.probe})"
        if measured is None:
            raise UserError(f"predictions {path.name!r} of {where} give no {record.metric} ({record.variant})")
        if set(measured.cases) != set(record.split.test_cases):
            raise UserError(f"predictions {path.name!r} of {where} are for other cases than its record")
        weights = draw(record.dataset, measured.cases)
        values = measured.values(weights)
        stated = np.nan if record.value is None else record.value
        if not np.isclose(values[0], stated, rtol=0, atol=TOLERANCE, equal_nan=True):
            raise UserError(
                f"predictions {path.name!r} of {where} give {record.metric} {values[0]:.4f}, its record says "
                f"{stated:.4f}; they are of another run and are not used"
            )
        return values

    def _measured(self, path: Path) -> Sequence[Measured]:
        """All measures of a file. The last one is kept: records of one file follow each other."""
        if self._last is None or self._last[0] != path:
            self._last = path, self._scorer(open_predictions(path))
        return self._last[1]


def open_predictions(path: Path) -> Predictions:
    """Read a file; the `UserError` names it without its folder, as reports travel."""
    if not path.is_file():
        raise UserError(f"predictions file {path.name!r} is missing beside its results file")
    try:
        return read_predictions(path)
    except UserError as error:
        raise UserError(f"predictions file {path.name!r} cannot be read; run the benchmark anew") from error


def draw(dataset: str, cases: Sequence[str]) -> np.ndarray:
    """How often each case counts: int64 (1 + `RESAMPLES`, cases), once each in the first row.

    The draws hang on the dataset and the names of the cases only, so they are joint for its models and tasks.
    """
    names = sorted(cases)
    seed = int.from_bytes(hashlib.sha256(json.dumps([dataset, names]).encode()).digest()[:8], "big")
    counts = np.vstack([np.ones((1, len(names)), dtype=np.int64), draw_counts(len(names), seed, RESAMPLES)])
    return counts[:, [names.index(case) for case in cases]]


def mean_over_runs(models: Sequence[dict[Run, np.ndarray]]) -> list[np.ndarray]:
    """Mean over the runs of each of some models, resample by resample; NaN where it is undefined in one of them.

    Models with several seeds or subsets are compared on those that they share, if they share any. A model with a single
    run, such as a floor that hangs on no seed, stands with it.
    """
    several = [own for own in models if len(own) > 1]
    shared = [run for run in several[0] if all(run in own for own in several)] if several else []
    means = []
    for own in models:
        runs = shared if len(own) > 1 and shared else list(own)
        means.append(np.mean([own[run] for run in runs], axis=0))
    return means

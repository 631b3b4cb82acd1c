"""Multi-label frame classification, the family behind presence and CVS: mean average precision, pooled frames."""

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.backbones import Backbone
from evaluation.datasets import Dataset, Record
from evaluation.features import FeatureStore
from evaluation.frames import AnyFrame
from evaluation.metrics.mean_average_precision import average_precision, mean_over_positive_classes
from evaluation.metrics.mean_average_precision.mean_average_precision import VARIANT, weighted_average_precision
from evaluation.protocols import Chosen, frozen
from evaluation.tasks.task import SplitCases, Variant
from training.errors import UserError

METRIC = "mean_average_precision"
PROBES = ("knn", "linear")


@dataclass(frozen=True)
class LabelPrediction:
    """Stored scores: labels bool and scores float (N, C); `case_index` (N,) points into `cases`."""

    cases: tuple[str, ...]
    case_index: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    names: tuple[str, ...]

    def values(self, weights: np.ndarray) -> np.ndarray:
        """Mean average precision for each multiset of cases: (R, cases) -> (R,)."""
        frames = weights[:, self.case_index]  # (R, N)
        columns = [
            weighted_average_precision(self.labels[:, c], self.scores[:, c], frames) for c in range(len(self.names))
        ]
        return mean_over_positive_classes(np.stack(columns, axis=1))

    def details(self) -> dict[str, Any]:
        """Average precision and positive test frames of each class; classes without positives by name."""
        per_class = average_precision(self.labels, self.scores)
        named = dict(zip(self.names, per_class, strict=True))
        return {
            "per_class": {name: None if np.isnan(value) else float(value) for name, value in named.items()},
            "absent_classes": [name for name, value in named.items() if np.isnan(value)],
            "positives": {name: int(n) for name, n in zip(self.names, self.labels.sum(axis=0), strict=True)},
            "test_frames": len(self.labels),
        }


class LabelTask:
    """Labels of single frames: `labels_of(record)` gives one bool per name."""

    def __init__(
        self, dataset: Dataset, names: tuple[str, ...], labels_of: Callable[[Record], tuple[bool, ...]]
    ) -> None:
        self.dataset = dataset.name
        self.data_sha256 = dataset.fingerprint()
        self.split, self._train, self._test = split_records(dataset)
        self._names = names
        self._train_labels, self._test_labels = (
            np.array([labels_of(record) for record in side], dtype=bool) for side in (self._train, self._test)
        )
        if not self._test_labels.any():
            raise UserError(
                f"dataset {dataset.name} in {str(dataset.root)!r}: no test frame has any of {', '.join(names)}"
            )
        self.frames: Sequence[AnyFrame] = [record.frame for record in (*self._train, *self._test)]
        self.dense_frames: Sequence[AnyFrame] = []

    def variants(self, backbones: Sequence[Backbone]) -> list[Variant]:
        """One number, whatever the backbones."""
        return [Variant(VARIANT)]

    def predict(
        self, variant: Variant, probe: str, store: FeatureStore, backbone: str, seed: int
    ) -> tuple[LabelPrediction, Chosen]:
        """Scores of the test frames by the probe fitted on the training frames."""
        scores, chosen = frozen.label_scores(
            probe,
            store,
            backbone,
            [record.frame for record in self._train],
            self._train_labels,
            [record.case_id for record in self._train],
            [record.frame for record in self._test],
        )
        return self._prediction(scores), chosen

    def constant(self, variant: Variant, store: FeatureStore) -> LabelPrediction:
        """Every test frame gets the training prevalence, so each AP is the class's test prevalence."""
        return self._prediction(np.repeat(self._train_labels.mean(axis=0)[None], len(self._test), axis=0))

    def test_digests(self) -> Mapping[str, Sequence[str]]:
        """SHA-256 of the image or video files of each test case, in frame order."""
        return file_digests(self._test)

    def _prediction(self, scores: np.ndarray) -> LabelPrediction:
        index = case_index(self.split.test, self._test)
        return LabelPrediction(self.split.test, index, self._test_labels, scores, self._names)


def split_records(dataset: Dataset) -> tuple[SplitCases, list[Record], list[Record]]:
    """The cases of each side, and the records of the train and of the test side."""
    sides = [[record for record in dataset.records if record.split == side] for side in ("train", "test")]
    train, test = (tuple(sorted({record.case_id for record in side})) for side in sides)
    return SplitCases(train, test, dataset.split_source), sides[0], sides[1]


def case_index(cases: tuple[str, ...], records: Sequence[Record]) -> np.ndarray:
    """Position of each record's case in `cases`: (N,) int64."""
    positions = {case: position for position, case in enumerate(cases)}
    return np.array([positions[record.case_id] for record in records])


def file_digests(records: Sequence[Record]) -> dict[str, list[str]]:
    """SHA-256 of the distinct image or video files of each case, in the order of the records."""
    files: dict[str, dict[Path, None]] = {}
    for record in records:
        files.setdefault(record.case_id, {})[record.frame.path] = None
    return {case: [_sha256(path) for path in paths] for case, paths in files.items()}


@functools.cache  # several tasks of one run share their files
def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

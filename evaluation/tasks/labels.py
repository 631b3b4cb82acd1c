"""Labels of the frames of datasets that come as records: presence of tools or structures, and the view of safety."""

from collections.abc import Callable, Sequence

import numpy as np

from evaluation.datasets import Dataset, Record
from evaluation.datasets.samples import Target
from evaluation.protocols.problem import Problem, Samples
from evaluation.tasks.problems import ProblemTask
from evaluation.tasks.task import SplitCases


def build(
    name: str, family: str, dataset: Dataset, target: Target, labels_of: Callable[[Record], Sequence[bool]]
) -> ProblemTask:
    """Labels of single frames: `labels_of(record)` gives one bool per class of the target."""
    sides = [[record for record in dataset.records if record.split == side] for side in ("train", "test")]
    train, test = (_samples(dataset, side, labels_of) for side in sides)
    problem = Problem(target, train, train.take([]), test)
    return ProblemTask(name, family, dataset.name, dataset.fingerprint(), problem, "default", dataset.split_source)


def _samples(dataset: Dataset, records: Sequence[Record], labels_of: Callable[[Record], Sequence[bool]]) -> Samples:
    return Samples(
        tuple((record.frame,) for record in records),
        tuple(record.case_id for record in records),
        tuple(record.case_id for record in records),
        np.zeros(len(records)),
        np.array([labels_of(record) for record in records], dtype=bool),
    )


def split_records(dataset: Dataset) -> tuple[SplitCases, list[Record], list[Record]]:
    """The cases of each side, and the records of the train and of the test side."""
    sides = [[record for record in dataset.records if record.split == side] for side in ("train", "test")]
    train, test = (tuple(sorted({record.case_id for record in side})) for side in sides)
    return SplitCases(train, (), test, "default", dataset.split_source), sides[0], sides[1]


def case_index(cases: tuple[str, ...], records: Sequence[Record]) -> np.ndarray:
    """Position of each record's case in `cases`: (N,) int64."""
    positions = {case: position for position, case in enumerate(cases)}
    return np.array([positions[record.case_id] for record in records])

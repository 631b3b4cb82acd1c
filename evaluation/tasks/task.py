"""What a task is: where its data lies, which frames it needs, how features become predictions with a metric."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from evaluation.backbones import Backbone
from evaluation.bootstrap import Prediction
from evaluation.datasets import DATASETS, Dataset
from evaluation.features import FeatureStore
from evaluation.frames import AnyFrame
from evaluation.protocols import Chosen
from training.errors import UserError
from training.registry import Registry


@dataclass(frozen=True)
class Sources:
    """Where data may lie: folders to search for datasets, and a pretraining corpus."""

    data_roots: tuple[Path, ...]
    corpus: Path | None


@dataclass(frozen=True)
class Variant:
    """One number a task measures: the metric's variant as records state it and, for agreement, the teacher aimed at."""

    name: str
    teacher: str | None = None
    tokens: str | None = None


class DetailedPrediction(Prediction, Protocol):
    """A prediction that can also say what its metric was averaged over."""

    def details(self) -> dict[str, Any]:
        """Per class values, absent classes, counts: JSON-able."""


@dataclass(frozen=True)
class SplitCases:
    """The cases of each side and where the split comes from."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    source: str


class LoadedTask(Protocol):
    """A task with its data read."""

    dataset: str
    data_sha256: str
    split: SplitCases

    @property
    def frames(self) -> Sequence[AnyFrame]:
        """Every frame the task needs."""

    @property
    def dense_frames(self) -> Sequence[AnyFrame]:
        """Those whose dense tokens it needs one by one."""

    def variants(self, backbones: Sequence[Backbone]) -> list[Variant]:
        """What is measured, given the backbones of the run."""

    def predict(
        self, variant: Variant, probe: str, store: FeatureStore, backbone: str, seed: int
    ) -> tuple[DetailedPrediction, Chosen]:
        """Fit the probe on the train side, predict the test side."""

    def constant(self, variant: Variant, store: FeatureStore) -> DetailedPrediction:
        """The prediction of the constant predictor: class frequencies or mean of the train side."""

    def test_digests(self) -> Mapping[str, Sequence[str]]:
        """SHA-256 of the source files of each test case, in frame order."""


@dataclass(frozen=True)
class Task:
    """A registry entry. `find` says where the data lies (None: nowhere), `load` reads it."""

    name: str
    family: str
    metric: str
    probes: tuple[str, ...]
    source: str
    licence: str
    find: Callable[[Sources], Path | None]
    load: Callable[[Sources], LoadedTask]


TASKS: Registry[Task] = Registry("task")


def register_dataset_task(
    name: str, family: str, dataset: str, metric: str, probes: tuple[str, ...], build: Callable[[Dataset], LoadedTask]
) -> None:
    """Register a task that reads one labeled dataset."""
    reader = DATASETS.get(dataset)

    def find(sources: Sources) -> Path | None:
        homes = (reader.find(root) for root in sources.data_roots)
        return next((home for home in homes if home is not None), None)

    def load(sources: Sources) -> LoadedTask:
        home = find(sources)
        if home is None:
            roots = ", ".join(repr(str(root)) for root in sources.data_roots) or "(no --data-root given)"
            raise UserError(
                f"task {name!r} needs the dataset {dataset!r}, which is not in or up to two levels below {roots}; "
                f"it comes from {reader.obtain}"
            )
        return build(reader.scan(home))

    TASKS.register(name)(Task(name, family, metric, probes, dataset, reader.licence, find, load))

"""What a task is: where its data lies, which frames it needs, how features become predictions with their measures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from evaluation.backbones import Backbone
from evaluation.features import FeatureStore
from evaluation.frames import AnyFrame
from evaluation.predictions import Predictions
from evaluation.protocols.selection import Chosen
from evaluation.scoring import Measured
from training.errors import UserError
from training.registry import Registry

T = TypeVar("T")


@dataclass(frozen=True)
class Sources:
    """Where data may lie: folders to search for datasets, and a pretraining corpus."""

    data_roots: tuple[Path, ...]
    corpus: Path | None
    _read: dict[tuple[object, ...], Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    def __str__(self) -> str:
        """The folders, for messages."""
        return ", ".join(repr(str(root)) for root in self.data_roots) or "(no --data-root given)"

    def once(self, key: tuple[object, ...], read: Callable[[], T]) -> T:
        """What `read` gives, read once for all tasks of a run that ask with the same key."""
        if key not in self._read:
            self._read[key] = read()
        return self._read[key]

    def find(self, find: Callable[[Path], Path | None]) -> Path | None:
        """What `find` finds in the first of the folders that has it."""
        return next((home for home in map(find, self.data_roots) if home is not None), None)


@dataclass(frozen=True)
class Aim:
    """What a task predicts: one thing, or, for agreement, one for every teacher and kind of token."""

    name: str = ""
    teacher: str | None = None
    tokens: str | None = None


@dataclass(frozen=True)
class SplitCases:
    """The cases of each side, the name of the split and where it comes from."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    name: str
    source: str


@dataclass(frozen=True)
class Outcome:
    """What one model reaches: its measures, the primary one first, what was chosen, and predictions where kept."""

    measures: Sequence[Measured]
    chosen: Chosen
    predictions: Predictions | None = None


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

    def aims(self, backbones: Sequence[Backbone]) -> list[Aim]:
        """What is predicted, given the backbones of the run."""

    def predict(self, aim: Aim, probe: str, store: FeatureStore, backbone: str, seed: int) -> Outcome:
        """Fit the probe on the train side, predict the test side."""

    def constant(self, aim: Aim, store: FeatureStore) -> Outcome:
        """The prediction of the constant predictor: class frequencies or mean of the train side."""

    def test_digests(self) -> Mapping[str, Sequence[str]]:
        """SHA-256 of the source files of each test case, in frame order."""


@dataclass(frozen=True)
class Task:
    """A registry entry.

    Attributes:
        name: `<family>_<dataset>`.
        family: says how it is scored.
        probes: of the frozen protocol.
        source: the dataset.
        licence: of the dataset.
        obtain: where to request it.
        find: says where the data lies (None: nowhere).
        load: reads it, with a split of the dataset by name (None: the default).
        transfer: train and test side come from different datasets; other protocols do not apply.
    """

    name: str
    family: str
    probes: tuple[str, ...]
    source: str
    licence: str
    obtain: str
    find: Callable[[Sources], Path | None]
    load: Callable[[Sources, str | None], LoadedTask]
    transfer: bool = False


TASKS: Registry[Task] = Registry("task")


def home_of(task: str, dataset: str, obtain: str, sources: Sources, find: Callable[[Path], Path | None]) -> Path:
    """The folder of a dataset; `UserError` that says where it was looked for and where it comes from."""
    home = sources.find(find)
    if home is None:
        raise UserError(
            f"task {task!r} needs the dataset {dataset!r}, which is not in or up to two levels below {sources}; "
            f"it comes from {obtain}"
        )
    return home

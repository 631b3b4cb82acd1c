"""The cases of every dataset below the data roots, whatever registry reads it: side, frames and files of each."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import evaluation.datasets  # noqa: F401  (fills the registries)
from evaluation.datasets.dataset import DATASETS, CaseOnTwoSidesError, Dataset, FrameReference
from evaluation.datasets.samples import SAMPLE_DATASETS, SampleDataset
from evaluation.datasets.workflow import (
    SIDES,
    SPLITS,
    WORKFLOW_DATASETS,
    LabeledVideo,
    Side,
    WorkflowDataset,
    load_split,
)
from evaluation.leakage.findings import Finding
from training.errors import UserError

FPS = 1.0  # frames per second of videos that are compared: the rate at which the field labels and trains


@dataclass(frozen=True)
class Case:
    """One case with the frames that the benchmark reads of it, in order."""

    name: str
    side: Side
    frames: tuple[FrameReference, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """Image or video files of the frames, each once, in that order."""
        return tuple(dict.fromkeys(frame.path for frame in self.frames))


@dataclass(frozen=True)
class Cases:
    """The cases of one dataset on one split."""

    dataset: str
    root: Path
    split: str
    cases: tuple[Case, ...]

    def on(self, side: Side) -> list[Case]:
        """Those of one side."""
        return [case for case in self.cases if case.side == side]

    def place(self, file: Path) -> str:
        """A file within the dataset."""
        return file.relative_to(self.root).as_posix()


@dataclass(frozen=True)
class Found:
    """What was read, what its splits leak already, and what could not be read and why."""

    datasets: Sequence[Cases]
    findings: Sequence[Finding]
    unread: Sequence[tuple[str, str]]


def find_cases(data_roots: Sequence[Path]) -> Found:
    """Read every dataset of the registries that lies in or below the roots, on its default split.

    A dataset that cannot be read, or with a case on two sides, is named and the others go on.

    Raises:
        UserError: a root that is no folder.
    """
    for root in data_roots:
        if not root.is_dir():
            raise UserError(f"data root {str(root)!r} is no folder")
    datasets: list[Cases] = []
    findings: list[Finding] = []
    unread: list[tuple[str, str]] = []
    for name, find, read in _readers():
        try:
            home = next((home for root in data_roots if (home := find(root)) is not None), None)
            if home is None:
                continue
            shared = shared_in_splits(name)
            findings += shared
            if not shared:
                datasets.append(read(home))
        except CaseOnTwoSidesError as error:
            findings.append(Finding("case on two sides", name, str(error)))
        except (UserError, OSError) as error:
            unread.append((name, str(error)))
    return Found(datasets, findings, unread)


def shared_in_splits(dataset: str) -> list[Finding]:
    """Cases on two sides of any shipped split of a dataset; one finding where validation and test side are the same."""
    file = SPLITS / f"{dataset}.json"
    if not file.is_file():
        return []
    findings = []
    for name in json.loads(file.read_text(encoding="utf-8"))["splits"]:
        split = load_split(dataset, name)
        if split.val and set(split.val) == set(split.test):
            findings.append(Finding("val equals test", dataset, f"split {name!r} of {str(file)!r}"))
            continue
        for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
            for case in sorted(set(getattr(split, one)) & set(getattr(split, other))):
                message = f"case {case!r} is on the sides {one} and {other} of split {name!r} of {str(file)!r}"
                findings.append(Finding("case on two sides", dataset, message))
    return findings


def _readers() -> Iterable[tuple[str, Callable[[Path], Path | None], Callable[[Path], Cases]]]:
    """Name, how to find and how to read each dataset of the three registries."""
    for name in DATASETS.names():
        reader = DATASETS.get(name)
        yield name, reader.find, partial(_of_records, reader.scan)
    for name in WORKFLOW_DATASETS.names():
        workflow = WORKFLOW_DATASETS.get(name)
        yield name, workflow.find, partial(_of_videos, name, workflow.scan)
    for name in SAMPLE_DATASETS.names():
        samples = SAMPLE_DATASETS.get(name)
        yield name, samples.find, partial(_of_samples, name, samples.scan)


def _of_records(scan: Callable[[Path], Dataset], home: Path) -> Cases:
    dataset = scan(home)
    split = "official"  # these readers have one
    return _gather(dataset.name, home, split, ((r.case_id, r.split, (r.frame,)) for r in dataset.records))


def _of_videos(name: str, scan: Callable[..., WorkflowDataset], home: Path) -> Cases:
    dataset = scan(home, load_split(name), FPS)
    return _gather(name, home, dataset.split, ((v.case_id, v.side, _frames(v)) for v in dataset.videos))


def _of_samples(name: str, scan: Callable[..., SampleDataset], home: Path) -> Cases:
    split = load_split(name) if (SPLITS / f"{name}.json").is_file() else None
    dataset = scan(home, split)
    return _gather(name, home, dataset.split, ((s.case_id, s.side, s.frames) for s in dataset.samples))


def _frames(video: LabeledVideo) -> tuple[FrameReference, ...]:
    if video.files:
        return tuple(FrameReference(file) for file in video.files)
    return tuple(FrameReference(video.video, int(frame)) for frame in video.frames)


def _gather(
    dataset: str, home: Path, split: str, parts: Iterable[tuple[str, Side, tuple[FrameReference, ...]]]
) -> Cases:
    """Frames by case, each once, in the order they come."""
    frames: dict[tuple[Side, str], dict[FrameReference, None]] = defaultdict(dict)
    for case, side, own in parts:
        frames[side, case].update(dict.fromkeys(own))
    cases = [Case(case, side, tuple(own)) for (side, case), own in frames.items()]
    return Cases(dataset, home, split, tuple(sorted(cases, key=lambda case: (SIDES.index(case.side), case.name))))

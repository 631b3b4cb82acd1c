"""Contamination ledger: which public test cases the corpus of a run holds, and which test files were looked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from evaluation.reporting.scores import TaskScores
from training.corpus.corpus import Corpus

NAMES_SHOWN = 20  # cases of one data set that a card names; the manifest has the rest


@dataclass(frozen=True)
class SeenDataset:
    """Test cases of one public data set among the clips of a corpus, by split of the corpus."""

    dataset: str
    trained: tuple[str, ...]  # cases with a clip that the student was trained on
    held_out: tuple[str, ...]  # cases that are on the held-out side only
    frames: int  # of the clips that it was trained on

    @property
    def listed(self) -> str:
        """The names of the cases trained on, cut after `NAMES_SHOWN`."""
        more = len(self.trained) - NAMES_SHOWN
        return ", ".join(self.trained[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


@dataclass(frozen=True)
class MeasuredDataset:
    """A data set that the model was measured on. `seen_files`: of its test cases in pretraining; None: not checked."""

    dataset: str
    split: str
    test_cases: int
    seen_files: int | None


@dataclass(frozen=True)
class PossibleDataset:
    """A pretraining collection among the sources that is known to hold public sets, whose cases cannot be told."""

    collection: str
    contains: str


def seen_datasets(corpus: Corpus) -> tuple[SeenDataset, ...]:
    """Public data sets whose test cases the manifest names, as "cholec80/video41" in `overlaps`, by name."""
    named = corpus.manifest.column("overlaps").combine_chunks()
    clips = pc.list_parent_indices(named)
    columns = {name: corpus.manifest.column(name).combine_chunks().take(clips) for name in ("split", "num_frames")}
    table = pa.table({"case": pc.list_flatten(named), **columns}).group_by(["case", "split"])
    cases: dict[str, dict[str, int]] = {}
    for row in table.aggregate([("num_frames", "sum")]).to_pylist():
        cases.setdefault(row["case"], {})[row["split"]] = row["num_frames_sum"]
    datasets: dict[str, dict[str, dict[str, int]]] = {}
    for case, frames in sorted(cases.items()):
        dataset, _, name = case.partition("/")
        datasets.setdefault(dataset, {})[name or dataset] = frames
    return tuple(
        SeenDataset(
            dataset,
            tuple(name for name, frames in found.items() if frames.get("train")),
            tuple(name for name, frames in found.items() if not frames.get("train")),
            sum(frames.get("train", 0) for frames in found.values()),
        )
        for dataset, found in datasets.items()
    )


def possible_datasets(curation: dict[str, Any]) -> tuple[PossibleDataset, ...]:
    """What `curation.json` says of collections that may hold more test cases than the manifest can name."""
    possible = curation.get("overlaps", {}).get("possible", {})
    return tuple(PossibleDataset(name, ", ".join(contains)) for name, contains in sorted(possible.items()))


def measured_datasets(tasks: Sequence[TaskScores]) -> list[MeasuredDataset]:
    """The data sets of the results, with the largest count of seen files that any record states."""
    found: dict[tuple[str, str, int], list[int | None]] = {}
    for task in tasks:
        place = (task.dataset, task.split_name, len(task.test_cases))
        counts = [record.pretraining_overlap for score in task.scores for record in score.records]
        found.setdefault(place, []).extend(counts)
    return [
        MeasuredDataset(*place, None if (known := [c for c in counts if c is not None]) != counts else max(known))
        for place, counts in found.items()
    ]

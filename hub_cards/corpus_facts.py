"""What the corpus of a run holds and what was dropped, counted from its manifest and drop report."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hub_cards.ledger import PossibleDataset, SeenDataset, possible_datasets, seen_datasets
from hub_cards.run_records import read_json
from training.corpus.corpus import SPLITS, Corpus
from training.corpus.machine_paths import without_folders
from training.corpus.manifest import CURATION_FILE, DROPS_FILE, Clip, Drop, read_drops
from training.errors import UserError

_ROBOTIC = {True: "robotic", False: "not robotic", None: "not recorded"}


@dataclass(frozen=True)
class SplitCounts:
    """Sizes of one split."""

    split: str
    frames: int
    clips: int
    videos: int
    cases: int


@dataclass(frozen=True)
class Group:
    """Clips that share a procedure, or a source and licence."""

    name: str
    licence: str | None
    clips: int
    frames: int
    cases: int


@dataclass(frozen=True)
class CorpusFacts:
    """A corpus in numbers."""

    fingerprint: str
    splits: tuple[SplitCounts, ...]  # train, held_out
    procedures: tuple[Group, ...]
    sources: tuple[Group, ...]  # one per source and licence
    seen: tuple[SeenDataset, ...]  # public test cases that clips show
    possible: tuple[PossibleDataset, ...]  # collections that may show more of them
    robotic: tuple[tuple[str, int], ...]  # "robotic" | "not robotic" | "not recorded", number of clips
    drops: tuple[Drop, ...]

    @property
    def frames(self) -> int:
        """Kept frames of both splits."""
        return sum(split.frames for split in self.splits)

    def drop_reasons(self) -> list[tuple[str, int, int]]:
        """(reason, spans, frames) of what was dropped, most spans first."""
        spans, frames = Counter[str](), Counter[str]()
        for drop in self.drops:
            spans[drop.reason] += 1
            frames[drop.reason] += drop.num_frames
        return [
            (reason, number, frames[reason])
            for reason, number in sorted(spans.items(), key=lambda item: (-item[1], item[0]))
        ]


def open_corpus(folder: Path, fingerprint: str) -> Corpus:
    """The corpus of a run.

    Raises:
        UserError: it is missing or incomplete, or its manifest is not the one whose `fingerprint` the run recorded.
    """
    corpus = Corpus.open(folder)
    if corpus.fingerprint != fingerprint:
        raise UserError(
            f"corpus {str(folder)!r} has fingerprint {corpus.fingerprint[:12]}, but the run was trained on "
            f"{fingerprint[:12]}; give the corpus of this run"
        )
    return corpus


def count_corpus(corpus: Corpus, folder: Path) -> CorpusFacts:
    """Count the manifest of `corpus` and the drop report in its `folder`."""
    columns = {name: corpus.manifest.column(name) for name in ("case_id", "num_frames", "robotic", "licence")}
    joined = pc.binary_join(pc.fill_null(corpus.manifest.column("procedures"), []), ", ")
    procedures = {"name": pc.if_else(pc.equal(joined, ""), "not recorded", joined)}
    sources = {"name": corpus.manifest.column("source"), "licence": columns.pop("licence")}
    robotic = pc.value_counts(columns.pop("robotic")).to_pylist()
    return CorpusFacts(
        fingerprint=corpus.fingerprint,
        splits=tuple(_count_split(corpus, split) for split in SPLITS),
        procedures=_groups(pa.table({**columns, **procedures}), ["name"]),
        sources=_groups(pa.table({**columns, **sources}), ["name", "licence"]),
        seen=seen_datasets(corpus),
        possible=possible_datasets(read_json(folder / CURATION_FILE)),
        robotic=tuple(sorted((_ROBOTIC[row["values"]], row["counts"]) for row in robotic)),
        drops=_read_drops(folder),
    )


def spread_frames(corpus: Corpus, split: str, count: int) -> list[tuple[Clip, int]]:
    """Up to `count` frames of `split` spread over its cases, as (clip, position), the same at every call.

    Cases come in the order of their names, evenly spaced when there are more than `count`; with fewer cases, each gives
    several frames, evenly spaced over its frames.
    """
    clips, cases = corpus.clips(split), corpus.cases(split)
    if not cases:
        return []
    chosen = [cases[i] for i in _evenly(len(cases), min(count, len(cases)))]
    share, extra = divmod(count, len(chosen))
    picked = []
    for number, frames in enumerate(chosen):
        wanted = min(share + (number < extra), len(frames))
        places = [frames.locate(i) for i in _evenly(len(frames), wanted)]
        picked += [(clips[clip], position) for clip, position in places]
    return picked


def _evenly(length: int, count: int) -> list[int]:
    """`count` different indices below `length`, at the middles of equal parts."""
    return [int(i) for i in np.floor((np.arange(count) + 0.5) * length / count)] if count else []


def _count_split(corpus: Corpus, split: str) -> SplitCounts:
    counts = corpus.count(split)
    return SplitCounts(split, counts.frames, counts.clips, counts.videos, counts.cases)


def _groups(clips: pa.Table, keys: list[str]) -> tuple[Group, ...]:
    """Clips (columns case_id, num_frames and the keys: name, and licence if wanted) counted, most frames first."""
    counted = clips.group_by(keys).aggregate(
        [("num_frames", "count"), ("num_frames", "sum"), ("case_id", "count_distinct")]
    )
    groups = [
        Group(
            row["name"],
            row.get("licence") or None,
            row["num_frames_count"],
            row["num_frames_sum"],
            row["case_id_count_distinct"],
        )
        for row in counted.to_pylist()
    ]
    return tuple(sorted(groups, key=lambda group: (-group.frames, group.name, group.licence or "")))


def _read_drops(folder: Path) -> tuple[Drop, ...]:
    path = folder / DROPS_FILE
    if not path.is_file():
        raise UserError(f"{str(path)!r} does not exist; curation writes it beside the manifest")
    return tuple(replace(drop, detail=without_folders(drop.detail or "")) for drop in read_drops(path))

"""What was left out: counts and scores per reason from drops.parquet, and the pictures that curation kept of it."""

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from training.corpus.drop_examples import DROP_EXAMPLES_FILE, EXAMPLE_SCHEMA, DropExample
from training.corpus.manifest import DROPS_FILE
from training.corpus.storage import Storage
from training.corpus.withdrawn import REMOVALS_FILE

EXAMPLES = 12  # pictures per reason on the page
_CURE = "curate this corpus anew, or copy it completely"


@dataclass(frozen=True)
class Reason:
    """All drops for one reason.

    Attributes:
        name: as in drops.parquet.
        rows: spans, or whole files.
        frames: sampled frames in them.
        scores: float64 (S,), of each span that has one, the score nearest to the threshold.
        weights: float64 (S,), frames of these spans.
        thresholds: smallest and largest threshold; `None` where a reason has none.
        details: the first few messages that differ.
    """

    name: str
    rows: int
    frames: int
    scores: np.ndarray
    weights: np.ndarray
    thresholds: tuple[float, float] | None
    details: tuple[str, ...]

    @property
    def lowest(self) -> float | None:
        """Smallest score; `None` where no span has one."""
        return float(self.scores.min()) if len(self.scores) else None

    @property
    def highest(self) -> float | None:
        """Largest score; `None` where no span has one."""
        return float(self.scores.max()) if len(self.scores) else None


@dataclass(frozen=True)
class Removed:
    """A case that was taken out of the corpus afterwards."""

    case_id: str
    time: str
    clips: int
    frames: int


def read_reasons(storage: Storage) -> list[Reason] | None:
    """The drop report by reason, most frames first; `None` when the corpus has no drops.parquet."""
    if not storage.is_file(DROPS_FILE):
        return None
    with storage.reading(DROPS_FILE, _CURE):
        table = storage.table(DROPS_FILE, ["reason", "num_frames", "score", "threshold", "detail"])
    rows: dict[str, list[tuple[int, float | None, float | None, str]]] = defaultdict(list)
    columns = [table[name].to_pylist() for name in ("reason", "num_frames", "score", "threshold", "detail")]
    for reason, *rest in zip(*columns, strict=True):
        rows[reason].append(tuple(rest))
    return sorted((_reason(name, mine) for name, mine in rows.items()), key=lambda each: (-each.frames, each.name))


def read_examples(storage: Storage) -> dict[str, list[DropExample]]:
    """Pictures by reason, spread over videos; none for a corpus without its journal, as on the Hub.

    Pictures of files whose drop rows are void since are left out.
    """
    if not storage.is_local or not storage.is_file(DROPS_FILE):
        return {}
    with storage.reading(DROPS_FILE, _CURE):
        table = storage.table(DROPS_FILE, ["input", "path", "reason"])
        valid = set(zip(*(table[name].to_pylist() for name in table.column_names), strict=True))
        found: dict[str, list[DropExample]] = defaultdict(list)
        for path in sorted((storage.folder / "journal").glob(f"*/{DROP_EXAMPLES_FILE}")):
            if path.parent.suffix == ".tmp":
                continue
            for row in pq.read_table(path, columns=EXAMPLE_SCHEMA.names).to_pylist():
                if (row["input"], row["path"], row["reason"]) in valid:
                    found[row["reason"]].append(DropExample(**row))
    return {reason: _spread(examples) for reason, examples in found.items()}


def read_removed(storage: Storage) -> list[Removed]:
    """The cases that were removed after they had been curated."""
    if not storage.is_file(REMOVALS_FILE):
        return []
    with storage.reading(REMOVALS_FILE, _CURE):
        rows: list[dict[str, Any]] = json.loads(storage.read_bytes(REMOVALS_FILE).decode("utf-8"))
        return [Removed(row["case_id"], row["time"], row["clips"], row["frames"]) for row in rows]


def _reason(name: str, rows: list[tuple[int, float | None, float | None, str]]) -> Reason:
    scored = [(score, frames) for frames, score, _, _ in rows if score is not None]
    thresholds = [threshold for _, _, threshold, _ in rows if threshold is not None]
    details = dict.fromkeys(detail for *_, detail in rows if detail)
    return Reason(
        name=name,
        rows=len(rows),
        frames=sum(frames for frames, *_ in rows),
        scores=np.array([score for score, _ in scored], np.float64),
        weights=np.array([frames for _, frames in scored], np.float64),
        thresholds=(min(thresholds), max(thresholds)) if thresholds else None,
        details=tuple(details)[:3],
    )


def _spread(examples: list[DropExample]) -> list[DropExample]:
    """Up to `EXAMPLES`: the first of every video, then the second, and so on, in the order of the journal."""
    turn: dict[str, int] = defaultdict(int)
    ranked: list[tuple[int, int, DropExample]] = []  # how many of its video came before, place, example
    for example in examples:
        ranked.append((turn[example.video_id], len(ranked), example))
        turn[example.video_id] += 1
    videos = sum(rank == 0 for rank, *_ in ranked)
    if videos > EXAMPLES:
        firsts = [item for item in ranked if item[0] == 0]
        return [firsts[index * videos // EXAMPLES][2] for index in range(EXAMPLES)]
    return [example for *_, example in sorted(ranked, key=lambda item: item[:2])[:EXAMPLES]]

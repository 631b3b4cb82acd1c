"""Clips that show the same pictures as evaluation data: remembered in the journal, so that every run applies them.

OUT/journal/seen_cases.parquet    one row per clip and benchmark case
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from training.corpus.manifest import Clip, Drop, write_rows
from training.corpus.overlaps import with_overlaps

SEEN_FILE = "seen_cases.parquet"
REASON = "benchmark"  # in drops.parquet


@dataclass(frozen=True)
class SeenCase:
    """A clip with frames that duplicate frames of a benchmark case."""

    clip_id: str
    input: str  # that the clip's path is relative to
    case: str  # as "cholec80/video41"
    frames: int  # of the clip
    distance: float  # bits, of the nearest pair
    max_distance: float  # bits, that it was compared with
    dropped: bool  # the clip is left out of the manifest


SEEN_SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("input", pa.string()),
        ("case", pa.string()),
        ("frames", pa.int32()),
        ("distance", pa.float64()),
        ("max_distance", pa.float64()),
        ("dropped", pa.bool_()),
    ]
)


def write_seen(rows: Sequence[SeenCase], folder: Path) -> None:
    """Remember what was found in the corpus `folder`, atomically; it takes the place of what was found before."""
    write_rows(rows, SEEN_SCHEMA, folder / "journal" / SEEN_FILE)


def read_seen(folder: Path) -> list[SeenCase]:
    """What `write_seen` wrote; nothing when no search was made."""
    path = folder / "journal" / SEEN_FILE
    return [SeenCase(**row) for row in pq.read_table(path).to_pylist()] if path.is_file() else []


def apply_seen(folder: Path, clips: Sequence[Clip], drops: Sequence[Drop]) -> tuple[list[Clip], list[Drop]]:
    """The clips of a manifest with the benchmark cases that they show, without those that are to be dropped.

    Args:
        folder: of the corpus.
        clips: everything that was committed.
        drops: of curation.

    Returns:
        The clips that stay, and the drops with one row for each clip that does not.
    """
    seen: dict[str, list[SeenCase]] = defaultdict(list)
    for row in read_seen(folder):
        seen[row.clip_id].append(row)
    named = with_overlaps(clips, {clip_id: [row.case for row in rows] for clip_id, rows in seen.items()})
    kept, gone = [], []
    for clip in named:
        rows = seen.get(clip.clip_id, [])
        if any(row.dropped for row in rows):
            gone.append(_drop(clip, rows))
        else:
            kept.append(clip)
    return kept, [*drops, *gone]


def _drop(clip: Clip, rows: Sequence[SeenCase]) -> Drop:
    nearest = min(rows, key=lambda row: (row.distance, row.case))
    detail = "the same pictures as " + ", ".join(sorted(row.case for row in rows))
    span = (clip.t_start, clip.t_end, clip.num_frames)
    threshold = nearest.max_distance
    return Drop(nearest.input, clip.path, clip.video_id, *span, REASON, nearest.distance, threshold, detail)

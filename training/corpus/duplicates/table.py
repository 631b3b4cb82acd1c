"""duplicates.parquet: the clusters of near-duplicates of a corpus, one row per frame."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from training.corpus.atomic import replacing
from training.corpus.duplicates.clusters import Choice
from training.corpus.duplicates.frame_table import FrameTable
from training.corpus.segments import DUPLICATES_FILE
from training.errors import UserError

DUPLICATE_SCHEMA = pa.schema(
    [
        ("cluster", pa.int64()),
        ("clip_id", pa.string()),
        ("position", pa.int32()),  # frame in the clip
        ("video_id", pa.string()),
        ("case_id", pa.string()),
        ("representative", pa.bool_()),  # the others are left out by the loader
        ("distance", pa.float32()),  # to the frame in whose favor it is left out: bits, or 1 - cosine
        ("method", pa.string()),  # "hash" or "embedding"; of a representative that of its first member
    ]
)
_SUMMARY = b"summary"


def duplicate_table(frames: FrameTable, choice: Choice) -> pa.Table:
    """The rows of all clusters, in manifest order of their representatives; each representative comes first."""
    final = choice.representatives()
    members = np.flatnonzero(choice.favored >= 0)
    heads = np.unique(final[members])
    listed = np.concatenate([heads, members])
    owners = np.searchsorted(heads, final[listed])
    order = np.lexsort((listed, choice.favored[listed] >= 0, owners))
    listed, owners = listed[order], owners[order]
    kept = choice.favored[listed] < 0
    after = np.minimum(np.arange(1, len(listed) + 1), max(len(listed) - 1, 0))
    methods = choice.method[np.where(kept, listed[after], listed)] if len(listed) else np.zeros(0, np.int8)
    clips = [frames.clips[number] for number in frames.clip[listed].tolist()]
    names = np.array([*choice.methods, ""], object)
    return pa.table(
        [
            pa.array(owners, pa.int64()),
            pa.array([clip.clip_id for clip in clips], pa.string()),
            pa.array(frames.position[listed], pa.int32()),
            pa.array([clip.video_id for clip in clips], pa.string()),
            pa.array([clip.case_id for clip in clips], pa.string()),
            pa.array(kept, pa.bool_()),
            pa.array(np.where(kept, 0, choice.distance[listed]), pa.float32()),
            pa.array(names[methods].tolist(), pa.string()),
        ],
        schema=DUPLICATE_SCHEMA,
    )


def write_duplicates(table: pa.Table, summary: Mapping[str, Any], folder: Path) -> None:
    """Write duplicates.parquet atomically, with the summary in its metadata; nothing if it is there already."""
    path = folder / DUPLICATES_FILE
    table = table.replace_schema_metadata({_SUMMARY: json.dumps(summary).encode()})
    if path.is_file() and read_summary(folder) == summary and pq.read_table(path).equals(table, check_metadata=True):
        return
    with replacing(path) as temporary:
        pq.write_table(table, temporary)


def is_readable(folder: Path) -> bool:
    """Whether duplicates.parquet is absent or whole."""
    try:
        return not (folder / DUPLICATES_FILE).is_file() or bool(pq.read_table(folder / DUPLICATES_FILE).num_columns)
    except (OSError, pa.ArrowException):
        return False


def read_summary(folder: Path) -> dict[str, Any] | None:
    """What the last search for duplicates found, as curation.json repeats it; `None` when nobody has searched.

    Raises:
        UserError: duplicates.parquet cannot be read.
    """
    path = folder / DUPLICATES_FILE
    if not path.is_file():
        return None
    try:
        metadata = pq.read_schema(path).metadata or {}
        return dict(json.loads(metadata.get(_SUMMARY, b"{}")))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(
            f"{str(path)!r} cannot be read ({type(error).__name__}): run python -m training.deduplicate again, or "
            "remove the file"
        ) from error

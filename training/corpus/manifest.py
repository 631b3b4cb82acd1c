"""The tables of a corpus: what a clip and a drop are, their Parquet schemas, and the manifest's fingerprint."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from training.corpus.atomic import replacing

MANIFEST_FILE = "manifest.parquet"
DROPS_FILE = "drops.parquet"
CURATION_FILE = "curation.json"
SHARD_FOLDER = "shards"

ROWS_PER_GROUP = 16384  # of the tables: one clip is read without reading the table, a column without many small steps
SCHEMA_VERSION = 2  # of the four files above; raised when a column changes its name or meaning


@dataclass(frozen=True)
class Clip:
    """One kept clip: consecutive samples of one video, stored as consecutive rows of one shard.

    Times are seconds from the first frame of the video, `width` and `height` pixels of the stored frames, the crop box
    pixels of the source frame (right and bottom exclusive).
    """

    clip_id: str  # unique in the corpus
    source: str  # data set or site the clip comes from
    video_id: str  # unique per video file or group of stills
    case_id: str  # patient or operation: the unit of every split
    split: str  # "train" or "held_out"
    procedures: tuple[str, ...]  # usually one; () when unknown
    robotic: bool | None  # None: unknown
    licence: str
    fps: float | None  # frames per second between the stored frames; None for a single still
    width: int
    height: int
    t_start: float
    t_end: float  # time of the last frame, so that a clip of one frame has t_end = t_start
    num_frames: int
    sha256: str  # of the source file; several stills: of their hex digests, joined in order
    crop_left: int
    crop_top: int
    crop_right: int
    crop_bottom: int
    fov_cx: float | None  # circle of the endoscope in pixels of the stored frames; None: none found
    fov_cy: float | None
    fov_radius: float | None
    fov_confidence: float | None  # 0 to 1
    mask: str  # id in masks.parquet of the pixels that show no tissue (overlays, outside the circle); "": all valid
    weight: float  # how often frames of this clip are drawn, relative to 1; see balance
    overlaps: tuple[str, ...]  # public benchmark cases that this clip shows
    path: str  # source file relative to the input folder; several stills: the first
    shard: str  # file name below shards/
    shard_row: int  # first row in that shard


@dataclass(frozen=True)
class Drop:
    """One span that did not enter the corpus, with the reason and the score that decided it.

    Whole files that hold no sampled frame (wrong type, label folder, unreadable) have `num_frames` 0 and no times.
    """

    input: str  # name of the input folder that `path` is relative to
    path: str
    video_id: str  # "" for files that belong to no video
    t_start: float | None
    t_end: float | None  # time of the last dropped sample
    num_frames: int  # sampled frames lost here
    reason: str
    score: float | None  # of a filter; in a span the score nearest to the threshold
    threshold: float | None
    detail: str


CLIP_SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("source", pa.string()),
        ("video_id", pa.string()),
        ("case_id", pa.string()),
        ("split", pa.string()),
        ("procedures", pa.list_(pa.string())),
        ("robotic", pa.bool_()),
        ("licence", pa.string()),
        ("fps", pa.float64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("t_start", pa.float64()),
        ("t_end", pa.float64()),
        ("num_frames", pa.int32()),
        ("sha256", pa.string()),
        ("crop_left", pa.int32()),
        ("crop_top", pa.int32()),
        ("crop_right", pa.int32()),
        ("crop_bottom", pa.int32()),
        ("fov_cx", pa.float64()),
        ("fov_cy", pa.float64()),
        ("fov_radius", pa.float64()),
        ("fov_confidence", pa.float64()),
        ("mask", pa.string()),
        ("weight", pa.float64()),
        ("overlaps", pa.list_(pa.string())),
        ("path", pa.string()),
        ("shard", pa.string()),
        ("shard_row", pa.int64()),
    ]
)

DROP_SCHEMA = pa.schema(
    [
        ("input", pa.string()),
        ("path", pa.string()),
        ("video_id", pa.string()),
        ("t_start", pa.float64()),
        ("t_end", pa.float64()),
        ("num_frames", pa.int64()),
        ("reason", pa.string()),
        ("score", pa.float64()),
        ("threshold", pa.float64()),
        ("detail", pa.string()),
    ]
)


def write_rows(rows: Iterable[Any], schema: pa.Schema, path: Path) -> None:
    """Write dataclass rows as one Parquet file, atomically. The dataclass fields are the columns of `schema`."""
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=schema)
    with replacing(path) as temporary:
        pq.write_table(table, temporary, row_group_size=ROWS_PER_GROUP)


def read_clips(path: Path) -> list[Clip]:
    """The rows of a manifest in file order. Raises `KeyError` when a column is missing, or what pyarrow raises."""
    names = [field.name for field in fields(Clip)]
    rows = pq.read_table(path).select(names).to_pylist()
    return [clip_of_row(row) for row in rows]


def clip_of_row(row: dict[str, Any]) -> Clip:
    """A row of a table, or a clip that went through JSON: lists become tuples again."""
    return Clip(**{**row, "procedures": tuple(row["procedures"] or ()), "overlaps": tuple(row["overlaps"] or ())})


def read_drops(path: Path) -> list[Drop]:
    """The rows of a drop report in file order."""
    return [Drop(**row) for row in pq.read_table(path).to_pylist()]


def fingerprint(clips: Sequence[Clip]) -> str:
    """SHA-256 over the content of the manifest: one JSON line per clip, in order, all columns.

    It does not depend on the Parquet writer, on paths of this machine or on the time of the run.
    """
    digest = hashlib.sha256()
    for clip in clips:
        digest.update(json.dumps(asdict(clip), ensure_ascii=True, separators=(",", ":")).encode())
        digest.update(b"\n")
    return digest.hexdigest()

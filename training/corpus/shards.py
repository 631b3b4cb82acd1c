"""Shards: Parquet files of encoded frames, written clip by clip and read by row group.

A shard is what `datasets.load_dataset("parquet", ...)` decodes by itself: the column `image` is a `datasets.Image`.
Row groups are small and hold whole clips where they fit, so that one clip is read without reading the shard.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from training.corpus.atomic import replacing

_VALUES = {
    "clip_id": "string",
    "video_id": "string",
    "case_id": "string",
    "frame_index": "int64",
    "timestamp": "float64",
    "width": "int32",
    "height": "int32",
    "phash": "uint64",
    "luma": "float32",
    "sharpness": "float32",
}
# What `datasets.Features(...).arrow_schema` writes; spelled out because importing datasets takes seconds.
_FEATURES = {"image": {"_type": "Image"}} | {
    name: {"dtype": dtype, "_type": "Value"} for name, dtype in _VALUES.items()
}
SHARD_SCHEMA = pa.schema(
    [
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("clip_id", pa.string()),
        ("video_id", pa.string()),
        ("case_id", pa.string()),
        ("frame_index", pa.int64()),
        ("timestamp", pa.float64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("phash", pa.uint64()),
        ("luma", pa.float32()),
        ("sharpness", pa.float32()),
    ],
    metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})},
)
_TEXTS = ["clip_id", "video_id", "case_id"]


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"shard-{number:05d}.parquet"


def shard_number(name: str) -> int:
    """The number in a `shard_name`."""
    return int(name.removeprefix("shard-").removesuffix(".parquet"))


class ShardWriter:
    """Collects the clips of one shard. Made by `open_shard`.

    Attributes:
        num_rows: frames so far.
        num_bytes: image bytes so far.
    """

    def __init__(self, writer: pq.ParquetWriter, row_group_frames: int) -> None:
        self.num_rows = 0
        self.num_bytes = 0
        self._writer = writer
        self._row_group_frames = row_group_frames
        self._rows: list[dict[str, Any]] = []

    def add(self, frames: Iterable[dict[str, Any]], num_frames: int) -> int:
        """Add one clip; returns its first row.

        Args:
            frames: one dictionary per frame with the columns of the shard, `image` as JPEG or WebP bytes.
            num_frames: how many there are.
        """
        first = self.num_rows
        if self._rows and len(self._rows) + num_frames > self._row_group_frames:
            self.flush()
        for frame in frames:
            self._rows.append({**frame, "image": {"bytes": frame["image"], "path": None}})
            self.num_rows += 1
            self.num_bytes += len(frame["image"])
            if len(self._rows) == self._row_group_frames:
                self.flush()
        return first

    def flush(self) -> None:
        """Write the collected rows as one row group."""
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=SHARD_SCHEMA))
            self._rows = []


@contextmanager
def open_shard(path: Path, row_group_frames: int) -> Iterator[ShardWriter]:
    """Write a shard; it appears under its name when the block ends well, and not at all otherwise."""
    compression = dict.fromkeys((*_VALUES, "image.path"), "zstd") | {"image.bytes": "none"}
    with (
        replacing(path) as temporary,
        pq.ParquetWriter(
            temporary, SHARD_SCHEMA, compression=compression, use_dictionary=_TEXTS, write_statistics=_TEXTS
        ) as writer,
    ):
        shard = ShardWriter(writer, row_group_frames)
        yield shard
        shard.flush()


@dataclass(frozen=True)
class RowGroup:
    """The rows of one row group."""

    clip_ids: pa.Array
    images: pa.Array

    @property
    def nbytes(self) -> int:
        """Memory that it holds."""
        return int(self.clip_ids.nbytes + self.images.nbytes)

    def row(self, position: int) -> tuple[str, pa.Buffer]:
        """Clip id and encoded image of one row; the image is not copied."""
        return self.clip_ids[position].as_py(), self.images[position].as_buffer()


@dataclass(frozen=True)
class ShardIndex:
    """Which row group of a shard holds which rows: `starts` are the first row of each group, then all rows, int32."""

    starts: np.ndarray

    @property
    def num_rows(self) -> int:
        """Rows of the shard."""
        return int(self.starts[-1])

    def locate(self, row: int) -> tuple[int, int]:
        """Row group that holds a row of the shard, and the row's position in it."""
        group = int(np.searchsorted(self.starts, row, side="right")) - 1
        return group, row - int(self.starts[group])


class ShardFile:
    """An open shard. `read` returns the rows of one row group; `index` says in which group a row lies."""

    def __init__(self, file: pq.ParquetFile) -> None:
        self._file = file
        metadata = file.metadata
        sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
        self.index = ShardIndex(np.cumsum([0, *sizes], dtype=np.int32))

    def read(self, group: int) -> RowGroup:
        """The rows of one row group."""
        # One thread: DataLoader workers are forked, and they are parallel already.
        table = self._file.read_row_group(group, columns=["image", "clip_id"], use_threads=False)
        images = table["image"].combine_chunks()
        return RowGroup(table["clip_id"].combine_chunks(), images.field("bytes"))

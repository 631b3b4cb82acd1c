"""The clips of a manifest as a table on disk: columns are read when needed, `Clip` objects made for the rows asked for.

A manifest of millions of rows opens in well under a second, because only its footer is read.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from training.corpus.cache import ReadCache
from training.corpus.manifest import CLIP_SCHEMA, MANIFEST_FILE, Clip, clip_of_row
from training.corpus.storage import Storage

CACHED_ROWS = 2**18  # manifest rows kept decoded per process; about 50 MB, a shuffle window of a huge manifest
_NAMES = [field.name for field in fields(Clip)]
# Read as dictionary codes: few values on many rows. Not the ids, which are all different.
_TEXTS = [name for name in _NAMES if pa.types.is_string(CLIP_SCHEMA.field(name).type) and name != "clip_id"]


class ClipTable(Sequence[Clip]):
    """Rows of a manifest in order, like a list of `Clip`. Make one with `ClipTable.open`, parts of it with `select`."""

    def __init__(self, storage: Storage, starts: np.ndarray, rows: np.ndarray | None, caches: tuple) -> None:
        self._storage = storage
        self._starts = starts  # int64 (G + 1,): first row of each row group, and the number of rows
        self._rows = rows  # int32 (N,): rows of the file; None: all
        self._files: ReadCache = caches[0]
        self._batches: ReadCache = caches[1]

    @classmethod
    def open(cls, storage: Storage) -> "ClipTable":
        """All rows of the manifest of a corpus.

        Raises:
            KeyError: it lacks a column.
        """
        file = storage.parquet(MANIFEST_FILE, _TEXTS)
        if missing := sorted(set(_NAMES) - set(file.schema_arrow.names)):
            raise KeyError(f"no column {', '.join(missing)}")
        metadata = file.metadata
        sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
        table = cls(storage, np.cumsum([0, *sizes]), None, (ReadCache(1), ReadCache(CACHED_ROWS)))
        table._files.get(0, lambda: file)
        return table

    @property
    def rows(self) -> np.ndarray:
        """Rows of the manifest file, int32 (N,), ascending unless `select` was given another order."""
        return np.arange(int(self._starts[-1]), dtype=np.int32) if self._rows is None else self._rows

    def __len__(self) -> int:
        return int(self._starts[-1]) if self._rows is None else len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Clip: ...
    @overload
    def __getitem__(self, index: slice) -> "ClipTable": ...
    def __getitem__(self, index: int | slice) -> "Clip | ClipTable":
        if isinstance(index, slice):
            return self.select(np.arange(len(self))[index])
        position = range(len(self))[index]  # refuses what lies outside, and counts from the end
        row = position if self._rows is None else int(self._rows[position])
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        columns = self._batches.get(group, lambda: self._read(group), lambda batch: len(batch["clip_id"]))
        return _clip(columns, row - int(self._starts[group]))

    def __iter__(self) -> Iterator[Clip]:
        rows = self.rows
        groups = np.searchsorted(self._starts, rows, side="right") - 1
        changes = np.flatnonzero(np.diff(groups)) + 1
        for part in np.split(np.arange(len(rows)), changes) if len(rows) else []:
            group = int(groups[part[0]])
            wanted = pa.array(rows[part] - self._starts[group])
            columns = [values.take(wanted).to_pylist() for values in self._read(group).values()]
            yield from (clip_of_row(dict(zip(_NAMES, values, strict=True))) for values in zip(*columns, strict=True))

    def select(self, indices: np.ndarray) -> "ClipTable":
        """The clips at these positions, in this order; the table is not copied."""
        rows = indices.astype(np.int32) if self._rows is None else self._rows[indices]
        return ClipTable(self._storage, self._starts, rows, (self._files, self._batches))

    def column(self, name: str) -> pa.ChunkedArray:
        """One column, one value per clip; texts as dictionary codes."""
        values = self._file().read([name], use_threads=False).column(0)
        return values if self._rows is None else values.take(pa.array(self._rows))

    def numbers(self, name: str) -> np.ndarray:
        """One numeric column without nulls, `(N,)`."""
        values = as_numpy(self._file().read([name], use_threads=False).column(0))
        return values if self._rows is None else values[self._rows]

    def where(self, name: str, value: str) -> "ClipTable":
        """The clips whose text column, without nulls, has this value, in order."""
        parts, start = [], 0
        for chunk in self.column(name).chunks:
            known = chunk.dictionary.to_pylist()
            code = known.index(value) if value in known else -1
            found = np.flatnonzero(as_numpy(chunk.indices) == code)
            parts.append(found.astype(np.int32) + start)
            start += len(chunk)
        return self.select(np.concatenate(parts) if parts else np.zeros(0, np.int32))

    def find(self, clip_ids: Sequence[str] | pa.ChunkedArray) -> np.ndarray:
        """Positions of clips by their id, int64 `(len(clip_ids),)`; -1 where there is none."""
        wanted = pa.array(clip_ids, pa.string()) if not isinstance(clip_ids, pa.ChunkedArray) else clip_ids
        distinct = wanted.unique()
        own = as_numpy(pc.fill_null(pc.index_in(self.column("clip_id"), distinct), -1))
        found = np.full(len(distinct), -1)
        hits = np.flatnonzero(own >= 0)
        found[own[hits]] = hits
        return found[as_numpy(pc.index_in(wanted, distinct))]

    def _read(self, group: int) -> Mapping[str, pa.Array]:
        # One thread: DataLoader workers are forked, and they are parallel already.
        table = self._file().read_row_group(group, columns=_NAMES, use_threads=False)
        return {name: table.column(name).combine_chunks() for name in _NAMES}

    def _file(self) -> pq.ParquetFile:
        return self._files.get(0, lambda: self._storage.parquet(MANIFEST_FILE, _TEXTS))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(Clip.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __getstate__(self) -> dict[str, Any]:
        return {
            "storage": self._storage,
            "starts": self._starts,
            "rows": self._rows,
            "caches": (self._files, self._batches),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def as_numpy(values: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Numbers without nulls as an array, not copied where they lie in one piece.

    `to_numpy` would do, but imports pandas, which takes longer than to open a manifest.
    """
    chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
    parts = [np.from_dlpack(chunk) for chunk in chunks if len(chunk)]
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.zeros(0, values.type.to_pandas_dtype())


def _clip(columns: Mapping[str, pa.Array], position: int) -> Clip:
    return clip_of_row({name: values[position].as_py() for name, values in columns.items()})

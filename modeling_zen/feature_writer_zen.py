"""Rows of features, their means, and where they go: into memory, or a Parquet or safetensors file that grows."""

import contextlib
import importlib
import json
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch

ROW_GROUP_BYTES = 8 << 20  # features per Parquet row group: 5000 rows of 384 numbers, or 27 dense maps of 14 x 14
_HEADER_LIMIT = 100_000_000  # bytes; a larger header no reader of safetensors takes
_ERROR_CHARACTERS = 300  # of a sentence kept in a safetensors header, whose room is set aside before it is known


class FeatureRows(NamedTuple):
    """Some rows of one video, in order of time."""

    frame_numbers: torch.Tensor  # int64 (n,), from 0; of a mean the first frame in it
    timestamps: torch.Tensor  # float64 (n,), seconds from the first frame; of a mean the start of its window
    features: torch.Tensor  # float32 (n, hidden), dense (n, hidden, rows, columns)


class ClipMeans:
    """Means over the frames of windows `[k * seconds, (k + 1) * seconds)`, or of whole videos, one window at a time."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._reset(0, 0)

    def _reset(self, window: int, first: int) -> None:
        self._window, self._first, self._count = window, first, 0
        self._sum: Any = 0

    def add(self, rows: FeatureRows) -> list[FeatureRows]:
        """The windows that end before the last frame of these rows, each as one row.

        Raises:
            ValueError: There are windows, and rows without times (NaN).
        """
        if self._seconds is None:
            windows = torch.zeros_like(rows.frame_numbers)
        elif rows.timestamps.isnan().any():
            raise ValueError("window_seconds needs times, and frames in memory have none; give source_fps")
        else:
            windows = (rows.timestamps / self._seconds + 1e-6).floor().long()
        done: list[FeatureRows] = []
        for window in windows.unique_consecutive().tolist():
            inside = windows == window
            if window != self._window or not self._count:
                done += self.finish()
                self._reset(window, int(rows.frame_numbers[inside][0]))
            self._count += int(inside.sum())
            self._sum = self._sum + rows.features[inside].double().sum(dim=0)
        return done

    def finish(self) -> list[FeatureRows]:
        """The window that is open, if any."""
        if not self._count:
            return []
        start = self._window * (self._seconds or 0.0)
        mean = (self._sum / self._count).float()[None]
        row = FeatureRows(torch.tensor([self._first]), torch.tensor([start], dtype=torch.float64), mean)
        self._reset(0, 0)
        return [row]


class RowBuffer:
    """Rows in tensors that double when they are full.

    A list of the rows of each pass would cost far more than its size: small tensors that stay, between large ones that
    come and go, keep the C library from using the room of those again. (5 MB a pass were measured.)
    """

    def __init__(self) -> None:
        self._columns: FeatureRows | None = None
        self._count = 0

    def append(self, source: str, rows: FeatureRows) -> None:
        """Copy rows to the end.

        Raises:
            ValueError: Features of another shape than those before.
        """
        count = self._count + len(rows.timestamps)
        if self._columns is None:
            self._columns = FeatureRows(*(column.new_empty(max(count, 64), *column.shape[1:]) for column in rows))
        if rows.features.shape[1:] != self.shape:
            shapes = f"{tuple(rows.features.shape[1:])}, not {tuple(self.shape)} as those before"
            raise ValueError(f"features of {source!r} have shape {shapes}")
        if count > len(self._columns.timestamps):
            self._columns = FeatureRows(
                *(torch.cat([column, column.new_empty(count, *column.shape[1:])]) for column in self._columns)
            )
        for column, new in zip(self._columns, rows, strict=True):
            column[self._count : count] = new
        self._count = count

    @property
    def shape(self) -> torch.Size:
        """Shape of the features of a row; that of nothing before the first one."""
        return torch.Size() if self._columns is None else self._columns.features.shape[1:]

    @property
    def nbytes(self) -> int:
        """Bytes of the features that are in it."""
        return 4 * self._count * self.shape.numel()

    def take(self) -> FeatureRows | None:
        """Views of the rows, valid until the next `append`, which begins anew; `None` if there are none."""
        count, self._count = self._count, 0
        return None if self._columns is None or not count else FeatureRows(*(each[:count] for each in self._columns))


class FeatureSink(ABC):
    """Takes the rows of one video after the other; as a context manager, an exception leaves nothing behind."""

    @abstractmethod
    def append(self, source: str, rows: FeatureRows) -> None:
        """Add rows; those of a source come one after the other."""

    def rows_of(self, source: str) -> FeatureRows | None:
        """The rows of this source so far, which are given away; `None` where there are none or they are on disk."""
        return None

    def finish(self, errors: dict[str, str]) -> None:
        """Complete the file, which must have a row; `errors`: a sentence per source that was not read to its end."""
        return None

    def discard(self) -> None:
        """Leave nothing behind."""
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.discard()


class MemorySink(FeatureSink):
    """Keeps everything."""

    def __init__(self) -> None:
        self._rows = RowBuffer()

    def append(self, source: str, rows: FeatureRows) -> None:
        """See `FeatureSink`."""
        self._rows.append(source, rows)

    def rows_of(self, source: str) -> FeatureRows | None:
        """See `FeatureSink`."""
        rows, self._rows = self._rows.take(), RowBuffer()
        return None if rows is None else FeatureRows(*(column.clone() for column in rows))


class _FileSink(FeatureSink):
    """Writes beside `path` under another name, and renames at the end: what bears the name is complete."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.part")

    def discard(self) -> None:
        """See `FeatureSink`."""
        with contextlib.suppress(OSError):  # a full disk, say, which is what brought us here
            self._close()
        self._temporary.unlink(missing_ok=True)

    def finish(self, errors: dict[str, str]) -> None:
        """See `FeatureSink`."""
        self._complete(errors)
        self._close()
        self._temporary.replace(self.path)

    @abstractmethod
    def _complete(self, errors: dict[str, str]) -> None:
        """Write what is known only at the end."""

    @abstractmethod
    def _close(self) -> None:
        """Close the file, if it is open."""


class ParquetSink(_FileSink):
    """Columns source, frame_number, timestamp and features: a list of fixed size, dense maps flat.

    The metadata of the schema hold `feature_shape` and, as JSON, `errors`: a sentence per source.
    """

    def __init__(self, path: Path, sources: list[str]) -> None:
        super().__init__(path)
        try:
            self._arrow = importlib.import_module("pyarrow")
            self._parquet = importlib.import_module("pyarrow.parquet")
        except ImportError as error:
            raise ImportError("writing Parquet needs pyarrow: pip install pyarrow") from error
        self._writer: Any = None
        self._rows = RowBuffer()
        self._sources: list[str] = []  # of each row that waits

    def append(self, source: str, rows: FeatureRows) -> None:
        """See `FeatureSink`.

        Raises:
            ValueError: Features of another shape than those before, which one column cannot hold.
        """
        self._rows.append(source, rows)
        self._sources += [source] * len(rows.timestamps)
        if self._rows.nbytes >= ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        rows = self._rows.take()
        if rows is None:
            return
        arrow, shape = self._arrow, self._rows.shape
        values = arrow.array(rows.features.flatten().numpy())
        columns = {
            "source": arrow.array(self._sources, arrow.string()),
            "frame_number": arrow.array(rows.frame_numbers.numpy()),
            "timestamp": arrow.array(rows.timestamps.numpy()),
            "features": arrow.FixedSizeListArray.from_arrays(values, shape.numel()),
        }
        table = arrow.table(columns, metadata={"feature_shape": json.dumps(list(shape))})
        if self._writer is None:
            self._writer = self._parquet.ParquetWriter(self._temporary, table.schema)
        self._writer.write_table(table)
        self._sources = []

    def _complete(self, errors: dict[str, str]) -> None:
        self._flush()
        self._writer.add_key_value_metadata({"errors": json.dumps(errors)})

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class SafetensorsSink(_FileSink):
    """Tensors `features`, `timestamps` and `frame_numbers`; `SOURCE/features` and so on where there are several.

    The number of rows is known only at the end, so room for the header is set aside and filled in then: the format
    allows spaces after it. The header's metadata hold `errors` as JSON, each sentence cut to 300 characters.

    Raises:
        ValueError: So many sources that no reader would take the header.
    """

    def __init__(self, path: Path, sources: list[str]) -> None:
        super().__init__(path)
        self._prefixes = {source: f"{source}/" if len(sources) > 1 else "" for source in sources}
        # A name stands in three entries and in the errors; JSON writes a character in up to 12 bytes, twice quoted 14.
        self._room = sum(2000 + 14 * (4 * len(source) + _ERROR_CHARACTERS) for source in sources) // 8 * 8
        if self._room > _HEADER_LIMIT:
            raise ValueError(
                f"output {str(path)!r} cannot hold {len(sources)} videos: what is said of them may need more than the "
                "100 MB that a safetensors header can have; write .parquet, or fewer videos per file"
            )
        self._header: dict[str, Any] = {}
        self._position = 0
        self._source = ""
        self._shape = torch.Size()
        self._beside = RowBuffer()  # numbers and times of the current source: 16 bytes a row
        self._file = self._temporary.open("wb")
        self._file.seek(8 + self._room)

    def append(self, source: str, rows: FeatureRows) -> None:
        """See `FeatureSink`."""
        if source != self._source:
            self._end_source()
            self._source, self._shape = source, rows.features.shape[1:]
        self._beside.append(source, rows._replace(features=rows.features.flatten(1)[:, :0]))
        self._write(rows.features)

    def _end_source(self) -> None:
        rows = self._beside.take()
        if rows is None:
            return
        prefix, count = self._prefixes[self._source], len(rows.timestamps)
        # Features have an even number of floats in a row, so that the 64-bit numbers behind them are aligned.
        self._enter(f"{prefix}features", "F32", (count, *self._shape), 4 * count * self._shape.numel())
        for name, kind, values in (("timestamps", "F64", rows.timestamps), ("frame_numbers", "I64", rows[0])):
            self._write(values)
            self._enter(f"{prefix}{name}", kind, (count,), 8 * count)

    def _write(self, values: torch.Tensor) -> None:
        array: Any = values.contiguous().numpy()
        self._file.write(array)  # by the buffer protocol, without a copy

    def _enter(self, name: str, kind: str, shape: tuple[int, ...], size: int) -> None:
        offsets = [self._position, self._position + size]
        self._header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": offsets}
        self._position += size

    def _complete(self, errors: dict[str, str]) -> None:
        self._end_source()
        cut = {source: sentence[:_ERROR_CHARACTERS] for source, sentence in errors.items()}
        header = json.dumps({"__metadata__": {"format": "pt", "errors": json.dumps(cut)}, **self._header}).encode()
        assert len(header) <= self._room
        self._file.seek(0)
        self._file.write(self._room.to_bytes(8, "little") + header.ljust(self._room))

    def _close(self) -> None:
        self._file.close()


_FILES: dict[str, type[Any]] = {".parquet": ParquetSink, ".safetensors": SafetensorsSink}


def open_sink(output: str | os.PathLike[str] | None, sources: list[str]) -> FeatureSink:
    """Where the features of these sources shall go.

    Args:
        output: `None` for memory, or a file that does not exist yet, named *.parquet or *.safetensors.
        sources: Names of the videos, in the order in which they will come.

    Raises:
        ValueError: Another ending; a name of a source that is no Unicode; or too many sources for safetensors.
        FileExistsError: `output` is there already.
        FileNotFoundError: The folder that it shall lie in does not exist.
        ImportError: pyarrow is not installed and Parquet is asked for.
    """
    if output is None:
        return MemorySink()
    path = Path(output)
    if path.suffix not in _FILES:
        raise ValueError(f"output {str(path)!r} ends in {path.suffix!r}; features are written to {' or '.join(_FILES)}")
    if path.exists():
        raise FileExistsError(f"output {str(path)!r} exists already; remove it or choose another name")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder of output {str(path)!r} does not exist; make it first")
    for source in sources:
        try:
            source.encode()
        except UnicodeEncodeError as error:  # a file name in Latin-1, say, which neither format could hold
            raise ValueError(f"the name {source!r} of a video is no Unicode, so {path.name} cannot hold it") from error
    return _FILES[path.suffix](path, sources)


__all__ = ["ClipMeans", "FeatureRows", "FeatureSink", "open_sink"]

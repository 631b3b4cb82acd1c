"""Source manifests: a CSV, JSONL or Parquet file that names videos and stills and says what they are.

One row per file, or per part of a video. Columns: `path` (relative to the manifest's folder or to `root`) or `url`, and
those of `labels.LABEL_COLUMNS`, which may be absent or empty.
"""

import csv
import difflib
import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from training.corpus.labels import LABEL_COLUMNS, Labels, read_labels
from training.corpus.remote import check_url, plain_url
from training.corpus.sources import VIDEO_SUFFIXES, Scan, SourceFile, file_drop, printable, source_file
from training.errors import UserError

MANIFEST_SUFFIXES = (".csv", ".jsonl", ".parquet")
COLUMNS = ("path", "url", *LABEL_COLUMNS)


def is_source_manifest(path: Path) -> bool:
    """Whether an input is a source manifest, by its extension."""
    return path.suffix.lower() in MANIFEST_SUFFIXES and not path.is_dir()


def read_source_manifest(path: Path, root: Path | None, *, allow_urls: bool) -> Scan:
    """The files that a source manifest names.

    Args:
        path: .csv, .jsonl or .parquet.
        root: folder that the paths start from; `None` for the folder of the manifest.
        allow_urls: whether rows may have a URL.

    Returns:
        Its files. A path that leads out of the root, names nothing or a folder, and a video site's URL are rejected.

    Raises:
        UserError: an unreadable manifest, an unknown column, a value of the wrong type, a row without path and URL, a
            URL although they are not allowed, or two rows for the same file or overlapping parts of it.
    """
    base = root or path.parent
    if not base.is_dir():
        raise UserError(f"setting root={str(base)!r} is not a folder")
    found, taken = Scan(), _Taken(path.name)
    for number, row in _rows(path):
        where = f"{path.name} row {number}"
        labels = read_labels(row, where)
        name, url = (_name(row.get(column), f"{where}, column {column!r}") for column in ("path", "url"))
        if bool(name) == bool(url):
            raise UserError(f"{where}: fill one of the columns 'path' and 'url'")
        if url:
            if not allow_urls:
                raise UserError(f"{where} names the URL {plain_url(url)!r}: set allow_urls=true to have URLs fetched")
            file = _remote_file(path.stem, url, labels)
            problem = check_url(url)
        else:
            file, problem = _local_file(path.stem, base, name, labels)
        _check_kind(file, labels, where)
        taken.add(file.path if problem else file.url or str(file.location.resolve()), labels, number)
        if problem:
            found.rejected.append((file, file_drop(file, "", *problem)))
        elif url:
            found.remote.append(file)
        else:
            found.add(file)
    return found


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows with their numbers: of the line in a text file, counted from 1 in Parquet."""
    try:
        if path.suffix.lower() == ".parquet":
            yield from _parquet_rows(path)
        elif path.suffix.lower() == ".jsonl":
            with path.open(encoding="utf-8") as lines:
                yield from _json_rows(path, lines)
        else:
            with path.open(encoding="utf-8-sig", newline="") as lines:
                reader = csv.DictReader(lines, strict=True)
                _check_columns(path, reader.fieldnames or [])
                for row in reader:
                    if None in row or None in row.values():
                        raise UserError(f"{path.name} row {reader.line_num}: not as many fields as the header has")
                    yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(f"source manifest {str(path)!r} cannot be read: {reason}") from error


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with pq.ParquetFile(path) as file:
        _check_columns(path, file.schema_arrow.names)
        number = 0
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield number, row


def _json_rows(path: Path, lines: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path.name} row {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise UserError(f"{path.name} row {number} is not a JSON object")
        _check_columns(path, list(row), f" row {number}")
        yield number, row


def _check_columns(path: Path, names: Any, row: str = "") -> None:
    for name in names:
        if name not in COLUMNS:
            close = difflib.get_close_matches(str(name), COLUMNS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            dataset = " (a dataset with a video or image column is given as dataset:PATH)"
            dataset = dataset if path.suffix.lower() == ".parquet" else ""
            raise UserError(f"{path.name}{row}: unknown column {name!r}.{hint} Known: {', '.join(COLUMNS)}{dataset}")


def _name(value: Any, where: str) -> str:
    if value is None or value != value or value == "":
        return ""
    if not isinstance(value, str):
        raise UserError(f"{where}: {value!r} is not text")
    return value


def _local_file(input_name: str, root: Path, name: str, labels: Labels) -> tuple[SourceFile, tuple[str, str] | None]:
    """The file of a row with a path, and reason and detail if it cannot be used."""
    path = PurePosixPath(os.path.normpath(name)).as_posix()
    nowhere = SourceFile(printable(input_name), _part_name(printable(path), labels), root / path, 0, 0, labels=labels)
    if PurePosixPath(name).is_absolute() or re.match(r"[A-Za-z]:[\\/]", name):
        return nowhere, ("outside_root", "an absolute path; paths start from the manifest's folder or root=")
    if path.split("/")[0] == "..":
        return nowhere, ("outside_root", "the path leads out of its root folder")
    location = root / path
    try:
        target, base = location.resolve(), root.resolve()
        is_folder = target.is_dir()
        exists = target.exists()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: links in a circle; ValueError: a NUL
        return nowhere, ("unreadable", getattr(error, "strerror", None) or "a circle of links, or no possible name")
    if not target.is_relative_to(base):
        return nowhere, ("outside_root", "a link that leads out of its root folder")
    if is_folder:
        return nowhere, ("not_media", "a folder: name each of its files, or give it as an input of its own")
    if not exists:
        return nowhere, ("missing_file", "there is no such file")
    return source_file(input_name, _part_name(printable(path), labels), location, labels), None


def _remote_file(input_name: str, url: str, labels: Labels) -> SourceFile:
    path = plain_url(url)
    place = Path(urlsplit(path).path or "file")
    return SourceFile(printable(input_name), _part_name(path, labels), place, 0, 0, labels=labels, url=url)


def _part_name(path: str, labels: Labels) -> str:
    """The path with the wanted part of the video as a W3C media fragment: `case.mp4#t=10,20`."""
    if labels.part is None:
        return path
    end = "" if labels.t_end is None else f"{labels.t_end:g}"
    return f"{path}#t={labels.part[0]:g},{end}"


def _check_kind(file: SourceFile, labels: Labels, where: str) -> None:
    """Raise `UserError` for labels that make no sense for this kind of file."""
    if file.location.suffix.lower() in VIDEO_SUFFIXES:
        for name in ("frame", "fps"):
            if getattr(labels, name) is not None:
                raise UserError(f"{where}: {name!r} is for stills, leave it empty for a video, which states its own")
    elif labels.part is not None:
        raise UserError(f"{where}: 't_start' and 't_end' are for videos, leave them empty for other files")


class _Taken:
    """Which files earlier rows have named."""

    def __init__(self, manifest: str) -> None:
        self._manifest = manifest
        self._rows: dict[str, list[tuple[tuple[float, float], int]]] = {}

    def add(self, name: str, labels: Labels, number: int) -> None:
        """Raise `UserError` when the file, or an overlapping part of it, was named before."""
        part = labels.part or (0.0, math.inf)
        rows = self._rows.setdefault(name, [])
        for other, row in rows:
            if part[0] < other[1] and other[0] < part[1]:
                raise UserError(
                    f"{self._manifest} rows {row} and {number} name the same file or overlapping parts of it: name "
                    "every second once"
                )
        rows.append((part, number))

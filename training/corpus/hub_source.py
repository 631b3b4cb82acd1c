"""Datasets with a video or image column as input, streamed row by row: from the Hub or from a local folder.

    hf://datasets/ORG/NAME[@REVISION][:CONFIG[:SPLIT[:COLUMN]]]
    dataset:PATH[:CONFIG[:SPLIT[:COLUMN]]]         PATH: a Parquet file or whatever `datasets.load_dataset` reads

`datasets` never decodes anything here: the bytes of a row become a file that curation treats like any other. Columns
called as those of a source manifest (`labels.LABEL_COLUMNS`), or named in `dataset_columns`, are its labels.
"""

import itertools
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from training.corpus.labels import LABEL_COLUMNS, Labels, read_labels
from training.corpus.remote import Known, fetched
from training.corpus.sources import STILL_SUFFIXES, VIDEO_SUFFIXES, Scan, SourceFile, file_drop, printable, source_file
from training.errors import FULL_DISK, UserError
from training.hub_access import HubSource, explained, gated_refusal, newest_commit
from training.registry import unknown_name

HUB, LOCAL = "hf://datasets/", "dataset:"
# Rows that are held on disk and curated together: stills of one video (100 MB at 720p), videos for several workers.
ROWS_AT_ONCE = {"image": 500, "video": 8}
CHUNK_BYTES = 2**20  # of a fetched file in memory at once
_UNREACHABLE = "check the network and HF_ENDPOINT, or download it and give dataset:PATH"


@dataclass(frozen=True)
class DatasetAddress:
    """What stands after `hf://datasets/` or `dataset:`."""

    word: str  # as the user wrote it
    name: str  # ORG/NAME, or a path
    local: bool
    revision: str | None = None
    config: str | None = None
    split: str | None = None
    column: str | None = None

    @property
    def on_hub(self) -> HubSource:
        """What is asked of the Hub."""
        cure = f"download it where there is a network and give {LOCAL}PATH"
        return HubSource(self.name, self.revision, cure, "dataset")

    @property
    def input(self) -> str:
        """Its name as an input: the last part, without extension."""
        return printable(PurePosixPath(self.name).stem if self.local else PurePosixPath(self.name).name)


def is_dataset(word: str) -> bool:
    """Whether an input is a dataset."""
    return word.startswith((HUB, LOCAL))


def parse_address(word: str) -> DatasetAddress:
    """Take an input apart. Raises `UserError` when it is not of the form above, or its path does not exist."""
    if word.startswith(LOCAL):
        name, options = word.removeprefix(LOCAL), list[str]()
        while not Path(name).exists() and ":" in name and len(options) < 3:
            name, _, option = name.rpartition(":")
            options.insert(0, option)
        if not name or not Path(name).exists():
            raise UserError(f"input {word!r}: {word.removeprefix(LOCAL)!r} does not exist")
        return DatasetAddress(word, str(Path(name).absolute()), True, None, *(option or None for option in options))
    match = re.fullmatch(
        r"(?P<name>[\w.-]+(/[\w.-]+)?)(@(?P<revision>[^:@]+))?(?P<options>(:[^:]*){0,3})", word.removeprefix(HUB)
    )
    if match is None:
        raise UserError(f"input {word!r} is not of the form {HUB}ORG/NAME[@REVISION][:CONFIG[:SPLIT[:COLUMN]]]")
    options = match["options"].split(":")[1:]
    return DatasetAddress(word, match["name"], False, match["revision"], *(option or None for option in options))


@dataclass(frozen=True)
class _Row:
    """One row of a dataset."""

    path: str  # name of its file, below the split
    place: str  # the row, for messages and for the private table
    labels: Labels
    media: Mapping[str, Any]  # "bytes" and "path", which may be None or absent


@dataclass
class DatasetSource:
    """One dataset, opened but not read. Made by `open_dataset`."""

    address: DatasetAddress
    splits: dict[str, Any]  # name -> datasets.IterableDataset of the media column and the label columns
    column: str
    kind: str  # "video" or "image"
    label_columns: Mapping[str, str]  # our name -> the dataset's
    _paths: set[str] = field(default_factory=set)  # given so far

    def scans(self, known: Known, staging: Path) -> Iterator[Scan]:
        """The rows as files: up to `ROWS_AT_ONCE` videos, or neighboring stills of one video.

        The files are gone when the next ones are asked for.

        Args:
            known: rows for which this is true are passed over.
            staging: folder that holds the files.

        Raises:
            UserError: a label of the wrong type, or the dataset cannot be read on.
        """
        self._paths.clear()
        for split in self.splits:
            rows = self._rows(split)
            row = next(rows, None)
            while row is not None:
                found, owner = Scan(), row.labels.video_id
                with tempfile.TemporaryDirectory(dir=staging) as folder:
                    count = 0
                    while row is not None and count < ROWS_AT_ONCE[self.kind]:
                        if self.kind == "image" and row.labels.video_id != owner:
                            break
                        self._add(found, row, Path(folder), known)
                        count += 1
                        row = next(rows, None)
                    yield found

    def _rows(self, split: str) -> Iterator[_Row]:
        stream = iter(self.splits[split])
        for number in itertools.count():
            place = f"{self.address.word} split {split!r} row {number}"
            try:
                row = next(stream, None)
            except Exception as error:  # of the network, of Arrow, of a file format: they have no common base
                raise UserError(
                    f"dataset {self.address.word!r} broke off at row {number} of split {split!r} "
                    f"({type(error).__name__}): run the same command again, it continues; should it break off there "
                    "again, the dataset is damaged"
                ) from None  # the message of a remote error may quote a signed URL
            if row is None:
                return
            labels = read_labels({ours: row[theirs] for ours, theirs in self.label_columns.items()}, place)
            media = row[self.column] or {}
            yield _Row(self._name(split, number, media), place, labels, media)

    def _name(self, split: str, number: int, media: Mapping[str, Any]) -> str:
        """Path of a row's file as `datasets` states it, below the split; its row number where that says nothing."""
        stated = re.sub(r"^\w+://", "", (media.get("path") or "").split("::")[0])
        if not self.address.local:
            stated = re.sub(rf"^datasets/{re.escape(self.address.name)}(@[^/]*)?/", "", stated)
        elif Path(stated).is_relative_to(self._root):
            stated = Path(stated).relative_to(self._root).as_posix()
        parts = [part for part in PurePosixPath(stated).parts if part not in ("/", "..", split)]
        # A bare row number would pass for a frame number, so it does not stand last.
        path = printable(PurePosixPath(split, *(parts or [f"{number}-row{self._suffix('')}"])).as_posix())
        if path in self._paths:
            path = PurePosixPath(path).with_name(f"{number}-row-{PurePosixPath(path).name}").as_posix()
        self._paths.add(path)
        return path

    def _add(self, found: Scan, row: _Row, folder: Path, known: Known) -> None:
        file = SourceFile(self.address.input, row.path, Path(row.path), 0, 0, labels=row.labels, url=row.place)
        if known(file):
            return
        content, stated = row.media.get("bytes"), row.media.get("path") or ""
        target = folder / f"{len(found.files())}{self._suffix(row.path)}"
        problem: tuple[str, str] | None = None
        if content is not None:
            target.write_bytes(content)
            file = fetched(file, target)
        elif not stated:
            problem = "empty_row", f"column {self.column!r} is empty"
        elif "://" in stated:
            problem = self._fetch(stated, target, row.place)
            file = file if problem else fetched(file, target)
        elif (location := self._inside(stated)) is None:
            problem = "outside_root", "the row names a file outside the dataset's folder"
        elif not location.is_file():
            problem = "missing_file", "there is no such file"
        else:
            file = source_file(self.address.input, row.path, location, row.labels)
        if problem:
            found.rejected.append((file, file_drop(file, "", *problem)))
        else:
            (found.videos if self.kind == "video" else found.stills).append(file)

    def _inside(self, stated: str) -> Path | None:
        """A local file that a row names, also if it is not there; `None` when it lies outside the dataset's folder.

        Relative paths start from that folder or, as `datasets` takes them, from the current one.
        """
        places = [self._root / stated, Path(stated)]
        location = next((place for place in places if place.exists()), places[0])
        try:
            inside = self.address.local and location.resolve().is_relative_to(self._root.resolve())
        except (OSError, RuntimeError, ValueError):  # links in a circle, or a NUL in the name
            return None
        return location if inside else None

    def _fetch(self, address: str, target: Path, place: str) -> tuple[str, str] | None:
        """Write a file of the Hub, or of an archive in the dataset's folder, to `target`; reason and detail if not."""
        import fsspec

        last = address.split("::")[-1]
        if not (last.startswith("hf://") or ("://" not in last and self._inside(last) is not None)):
            raise UserError(f"{place} names a file outside the Hub and its own folder: download it and give its path")
        try:
            with fsspec.open(address, "rb") as content, target.open("wb") as file:
                shutil.copyfileobj(content, file, CHUNK_BYTES)
        except Exception as error:  # fsspec's file systems raise what their libraries do, without a common base
            if isinstance(error, OSError) and error.errno in FULL_DISK:
                raise
            target.unlink(missing_ok=True)
            return "not_fetched", type(error).__name__
        return None

    def _suffix(self, path: str) -> str:
        suffix = PurePosixPath(path).suffix.lower()
        known, usual = (VIDEO_SUFFIXES, ".mp4") if self.kind == "video" else (STILL_SUFFIXES, ".jpg")
        return suffix if suffix in known else usual

    @property
    def _root(self) -> Path:
        path = Path(self.address.name)
        return path if path.is_dir() else path.parent


def open_dataset(word: str, columns: Mapping[str, str]) -> DatasetSource:
    """Open a dataset; its rows are not read yet.

    Args:
        word: as above.
        columns: label column -> its name in the dataset, for those that are called otherwise there.

    Raises:
        UserError: a dataset that does not exist, is gated or cannot be reached; an unknown split or column; or none or
            several media columns when none is named.
    """
    import datasets

    address = parse_address(word)
    for name in columns:
        if name not in LABEL_COLUMNS:
            raise unknown_name("label in dataset_columns", name, LABEL_COLUMNS)
    splits = _load(address)
    if not splits:
        raise UserError(f"dataset {word!r} has no split: give a dataset that holds rows")
    if address.split is not None:
        if address.split not in splits:
            raise unknown_name(f"split of {word!r}", address.split, splits)
        splits = {address.split: splits[address.split]}
    features = next(iter(splits.values())).features
    if features is None:
        raise UserError(f"dataset {word!r} does not state its columns: save it as Parquet with a video or image column")
    kinds = {"video": datasets.Video, "image": datasets.Image}
    media = {name: kind for name, feature in features.items() for kind, of in kinds.items() if isinstance(feature, of)}
    if address.column is not None and address.column not in media:
        raise unknown_name(f"video or image column of {word!r}", address.column, media)
    if address.column is None and len(media) != 1:
        listed = ", ".join(sorted(media)) or f"only {', '.join(sorted(features))}"
        raise UserError(
            f"dataset {word!r} needs one video or image column, it has {listed}: name it as {word}:::COLUMN"
        )
    column = address.column or next(iter(media))
    wanted = {name: columns.get(name, name) for name in LABEL_COLUMNS if columns.get(name, name) in features}
    for name, theirs in columns.items():
        if theirs not in features:
            raise unknown_name(f"column (dataset_columns.{name}) of {word!r}", theirs, features)
    feature = kinds[media[column]](decode=False)
    streams = {
        name: stream.select_columns(list(dict.fromkeys([column, *wanted.values()]))).cast_column(column, feature)
        for name, stream in splits.items()
    }
    return DatasetSource(address, streams, column, media[column], wanted)


def _load(address: DatasetAddress) -> dict[str, Any]:
    """Split -> stream."""
    import datasets

    path = Path(address.name)
    try:
        if address.local and any((path / name).is_file() for name in ("state.json", "dataset_dict.json")):
            saved = datasets.load_from_disk(str(path))
            saved = saved if isinstance(saved, dict) else {str(saved.split or "train"): saved}
            return {str(name): split.to_iterable_dataset() for name, split in saved.items()}
        if address.local and path.is_file():
            arguments: dict[str, Any] = {"path": "parquet", "data_files": str(path)}
        else:
            arguments = {"path": address.name, "name": address.config}
        if not address.local:
            with explained(f"dataset {address.word!r}", address.on_hub):
                arguments["revision"] = newest_commit(address.on_hub)  # all rows are of one commit
        loaded = datasets.load_dataset(**arguments, streaming=True)
        return {str(name): stream for name, stream in loaded.items()}
    except UserError:
        raise
    except datasets.exceptions.DatasetNotFoundError as error:  # it is there, since its commit is known
        raise UserError(f"dataset {address.word!r}: {gated_refusal(address.on_hub)}") from error
    except (ConnectionError, TimeoutError) as error:
        raise UserError(f"dataset {address.word!r} cannot be reached: {_UNREACHABLE}") from error
    except (ValueError, OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"dataset {address.word!r} cannot be opened: {reason}") from error

"""De-identification: which names a corpus shows. `private_names` leads from a hash back to the name.

A name becomes `case-` (`video-`, `file-`, `input-`) and the first 16 hex digits of HMAC-SHA256(salt, kind + name).
"""

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from training.corpus.manifest import Drop
from training.corpus.private_names import SALT_FILE, NameRow, PrivateNames
from training.corpus.settings import CurationSettings
from training.corpus.sources import SourceFile, Unit, beside
from training.corpus.state import SETTINGS_FILE, kept_settings
from training.errors import UserError


def private_folder(out: Path, settings: CurationSettings) -> Path:
    """Where salt and true names of the corpus `out` are. Raises `UserError` when that is inside the corpus."""
    folder = Path(settings.private) if settings.private else beside(out, ".private")
    here, there = folder.resolve(), out.resolve()
    if here == there or there in here.parents:
        raise UserError(f"setting private={str(folder)!r} lies inside the corpus: what is private must stay outside")
    return folder


class Names:
    """Turns true names into those that the corpus shows. Made by `open_names`; use as a context manager.

    Attributes:
        mark: proof of the salt, kept in the corpus so that it grows under one salt; "" when names stay readable.
    """

    def __init__(self, folder: Path | None) -> None:
        self.mark = ""
        self._private = None if folder is None else PrivateNames(folder)
        self._salt = b""
        self._known: set[tuple[str, str]] = set()
        self._first_numbers: dict[str, int] = {}  # by true video_id

    def __enter__(self) -> "Names":
        if self._private is not None:
            self._salt, rows = self._private.open()
            self._take_in(rows)
            self.mark = self._hash("mark", "")
        return self

    def __exit__(self, *_: object) -> None:
        if self._private is not None:
            self._private.close()

    def file(self, file: SourceFile) -> SourceFile:
        """The file under the names that the corpus shows. Its time of change, often the day of surgery, is hashed."""
        if self._private is None:
            return file
        name = f"{file.input}/{file.path}"
        time = int(self._hash("time", f"{name}/{file.mtime_ns}")[:15], 16) if file.mtime_ns else 0
        return replace(
            file,
            input=f"input-{self._hash('input', file.input)}",
            path=f"file-{self._hash('file', name)}",
            mtime_ns=time,
        )

    def drop(self, file: SourceFile, drop: Drop) -> Drop:
        """The drop row of a whole file."""
        if self._private is None:
            return drop
        shown = self.file(file)
        words = {part.lower() for part in PurePosixPath(file.path).parts} | {file.location.suffix.lower()} - {""}
        detail = drop.detail
        if any(word in detail.lower() for word in words):
            detail = ""
        return replace(drop, input=shown.input, path=shown.path, detail=detail)

    def unit(self, unit: Unit) -> Unit:
        """The unit under the names that the corpus shows.

        The number in a still's name may be an id, so stills of a sequence count from its first one, others by rank.
        """
        if self._private is None:
            return unit
        first = self._first_number(unit)
        prefixes = {prefix: str(rank) for rank, prefix in enumerate(sorted({file.prefix for file in unit.files}))}
        files = []
        for rank, file in enumerate(unit.files):
            number = rank if unit.kind == "stills" else None
            if unit.sequence and file.number is not None:
                number = file.number - first
            files.append(replace(self.file(file), number=number, prefix=prefixes[file.prefix]))
        return replace(
            unit,
            video_id=f"video-{self._hash('video', unit.video_id)}",
            case_id=f"case-{self._hash('case', unit.case_id)}",
            files=tuple(files),
        )

    def units(self, units: Sequence[Unit]) -> list[Unit]:
        """All units of a run, in an order that does not tell the order of the true names."""
        if self._private is None:
            return list(units)
        hidden = [self.unit(unit) for unit in units]
        return sorted(hidden, key=lambda unit: (unit.video_id, unit.files[0].labels.part or (0.0, 0.0), unit.key))

    def remember(self, units: Sequence[Unit], files: Sequence[SourceFile]) -> None:
        """Write the true names of units, and of files that belong to no unit, to the private table, on disk at once.

        Raises:
            UserError: the salt was replaced since this run began.
        """
        if self._private is None:
            return
        rows = []
        for unit in units:
            hidden = self.unit(unit)
            for file, shown in zip(unit.files, hidden.files, strict=True):
                ids = (hidden.video_id, hidden.case_id)
                rows.append(_row(file, shown, ids, (unit.video_id, unit.case_id), self._first_number(unit)))
        rows += [_row(file, self.file(file), ("", ""), ("", ""), None) for file in files]
        new = [row for row in rows if (row.input, row.path) not in self._known]
        if new:
            self._take_in(self._private.add(new))

    def _take_in(self, rows: Iterable[NameRow]) -> None:
        for row in rows:
            self._known.add((row.input, row.path))
            if row.first_number is not None:
                self._first_numbers.setdefault(row.true_video_id, row.first_number)

    def _first_number(self, unit: Unit) -> int:
        """Number of the first still in the first run that met this video; later runs count on from it."""
        return self._first_numbers.setdefault(
            unit.video_id, min((file.number for file in unit.files if file.number is not None), default=0)
        )

    def _hash(self, kind: str, name: str) -> str:
        return hmac.new(self._salt, f"{kind}\0{name}".encode(), hashlib.sha256).hexdigest()[:16]


def open_names(out: Path, settings: CurationSettings) -> Names:
    """The names of the corpus `out`.

    Raises:
        UserError: the private folder lies inside the corpus, or the corpus has hashed names and its salt is gone.
    """
    if not settings.deidentify:
        return Names(None)
    folder = private_folder(out, settings)
    is_corpus = (out / "journal" / SETTINGS_FILE).is_file()
    if is_corpus and not (folder / SALT_FILE).is_file() and kept_settings(out).get("salt"):
        raise UserError(
            f"the names in corpus {str(out)!r} were hashed with a salt that is not in {str(folder)!r}: bring that "
            "folder back or set private=, or curate into another OUT"
        )
    return Names(folder)


def _row(
    file: SourceFile, shown: SourceFile, ids: tuple[str, str], true_ids: tuple[str, str], first_number: int | None
) -> NameRow:
    location = file.url or str(file.location.absolute())
    return NameRow(shown.input, shown.path, *ids, file.input, file.path, *true_ids, location, first_number)

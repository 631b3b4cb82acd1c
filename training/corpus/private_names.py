"""The private folder of a corpus: the salt of its hashes, and the table that leads from them back to the true names.

    PRIVATE/salt          64 hex digits, drawn once; whoever has it can tell whether a name is in the corpus
    PRIVATE/names.jsonl   one line per source file: the names in the corpus and the true ones

It lies outside the corpus and is readable for its owner only; it must not be published with it. Several corpora may
share one, also while they are made: whoever changes something in it has the table locked.
"""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from training.errors import UserError

SALT_FILE = "salt"
NAMES_FILE = "names.jsonl"


@dataclass(frozen=True)
class NameRow:
    """One source file in the private table. Video and case are "" for a file that belongs to none."""

    input: str  # as in the corpus
    path: str
    video_id: str
    case_id: str
    true_input: str
    true_path: str
    true_video_id: str
    true_case_id: str
    location: str  # absolute path, URL, or row of a dataset
    first_number: int | None  # stills: number in the true names that frame 0 of the video had


class PrivateNames:
    """A private folder in use by one run.

    Args:
        folder: made by `open` if need be.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._salt = b""
        self._drawn = False
        self._end = 0  # bytes of the table that were read, whole lines
        self._lines = 0

    def open(self) -> tuple[bytes, list[NameRow]]:
        """The salt, drawn if there is none, and the rows of the table.

        Raises:
            UserError: a folder that cannot be used, or a damaged salt or line.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked_table(self._folder) as table:
                self._drawn = not (self._folder / SALT_FILE).is_file()
                if self._drawn:
                    self._salt = secrets.token_bytes(32)
                    _write_salt(self._folder / SALT_FILE, self._salt)
                else:
                    self._salt = _read_salt(self._folder / SALT_FILE)
                return self._salt, self._read_on(table)
        except OSError as error:
            raise UserError(f"cannot use the private folder {str(self._folder)!r}: {error.strerror}") from error

    def add(self, rows: Sequence[NameRow]) -> list[NameRow]:
        """Append rows, on disk at once. Returns them, and what other runs have appended since.

        Raises:
            UserError: the salt was replaced since.
        """
        with _locked_table(self._folder) as table:
            self._keep_salt()
            others = self._read_on(table)
            table.truncate(self._end)  # a kill may have left half a line
            table.seek(self._end)
            for row in rows:
                table.write(json.dumps(asdict(row)).encode() + b"\n")
            table.flush()
            os.fsync(table.fileno())
            return [*others, *self._read_on(table)]

    def close(self) -> None:
        """Remove a salt that was drawn and that neither this run nor another one has used."""
        if not self._drawn:
            return
        self._drawn = False
        with _locked_table(self._folder) as table:
            if table.read():
                return
            (self._folder / SALT_FILE).unlink(missing_ok=True)
            (self._folder / NAMES_FILE).unlink()
        if not any(self._folder.iterdir()):
            self._folder.rmdir()

    def _keep_salt(self) -> None:
        """Write the salt again if the run that drew it has removed it since, as it ended with a mistake."""
        path = self._folder / SALT_FILE
        if not path.is_file():
            _write_salt(path, self._salt)
        elif _read_salt(path) != self._salt:
            raise UserError(f"another run has drawn another salt in {str(self._folder)!r}: run the same command again")

    def _read_on(self, table: BinaryIO) -> list[NameRow]:
        table.seek(self._end)
        content = table.read()
        rows = _parse(content, self._folder / NAMES_FILE, self._lines)
        self._end += content.rfind(b"\n") + 1
        self._lines += len(rows)
        return rows


def read_names(folder: Path) -> list[NameRow]:
    """The private table, without a half-written last line; empty when there is none.

    Raises:
        UserError: a line of it is damaged.
    """
    path = folder / NAMES_FILE
    return _parse(path.read_bytes(), path, 0) if path.is_file() else []


def _parse(content: bytes, path: Path, before: int) -> list[NameRow]:
    """The whole lines of a piece of the table that has `before` lines before it."""
    rows = []
    for number, line in enumerate(content.split(b"\n")[:-1], before + 1):
        try:
            rows.append(NameRow(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise UserError(f"{str(path)!r} line {number} is damaged: restore the file from a copy") from error
    return rows


@contextmanager
def _locked_table(folder: Path) -> Iterator[BinaryIO]:
    """The table, made if need be, to read and write; other runs that share the folder wait meanwhile."""
    path = folder / NAMES_FILE
    while True:
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "rb+") as table:
            fcntl.flock(table, fcntl.LOCK_EX)  # the kernel frees it whatever way we end
            if path.exists() and os.path.samestat(os.fstat(table.fileno()), path.stat()):  # nobody has removed it
                yield table
                return


def _read_salt(path: Path) -> bytes:
    text = path.read_text(encoding="ascii", errors="replace").strip()
    try:
        salt = bytes.fromhex(text)
    except ValueError:
        salt = b""
    if len(salt) != 32:
        raise UserError(f"{str(path)!r} is no salt: it must hold 64 hex digits; restore it")
    return salt


def _write_salt(path: Path, salt: bytes) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)  # of a killed run
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(salt.hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)

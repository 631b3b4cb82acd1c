"""Where a corpus lies: a local folder, any fsspec URL, or a dataset repository on the Hub.

    runs/corpus                               a folder
    s3://bucket/corpus, memory://corpus ...   whatever fsspec and its packages know
    hf://datasets/ORG/NAME[@revision]         a dataset repository, pinned or not, with the usual token
    filecache::s3://bucket/corpus             the same, kept on the local disk once read

URLs may hold credentials. They are never shown: messages give `Storage.shown`, and of a remote error its type only.
"""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.parquet as pq

from training.errors import UserError
from training.hub_access import HubSource, explained, hub_refusal, newest_commit

T = TypeVar("T")

_DAMAGE = (OSError, ValueError, KeyError, TypeError, pa.ArrowException)  # what reading a damaged file raises

# Before the repository (with what fsspec chains before it), the repository, its revision, and a folder in it.
_HUB = re.compile(r"((?:\w+::)*hf://datasets/)([^/@]+/[^/@]+)(?:@([^/]+))?(/.*)?")


@dataclass(frozen=True)
class Storage:
    """A folder that is only read. It holds no open file or connection, so it may go to other processes."""

    root: str = field(repr=False)  # local path or URL

    @classmethod
    def at(cls, location: str | Path) -> "Storage":
        """The storage of a folder or URL."""
        return cls(str(location) if isinstance(location, Path) else location.rstrip("/") or location)

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""
        return "://" not in self.root and "::" not in self.root

    @property
    def folder(self) -> Path:
        """The local folder. Raises `ValueError` for a URL."""
        if not self.is_local:
            raise ValueError("a URL is not a local folder")
        return Path(self.root)

    @property
    def shown(self) -> str:
        """The location without credentials, for messages."""
        if self.is_local:
            return self.root
        # user:password@ before a host, and signatures after a question mark
        return re.sub(r"[?#].*$", "", re.sub(r"(?<=://)[^/@]*@", "", self.root))

    @property
    def name(self) -> str:
        """The last part of the location: the corpus's name in records."""
        if self.is_local:
            return Path(self.root).resolve().name
        return self.shown.rstrip("/").rpartition("/")[2].partition("@")[0]

    @property
    def on_hub(self) -> HubSource | None:
        """The dataset repository that it is, or is a folder of."""
        found = _HUB.fullmatch(self.root)
        if found is None:
            return None
        repo, revision = found[2], unquote(found[3]) if found[3] else None
        pin = f" --revision {revision}" if revision else ""
        return HubSource(
            repo,
            revision,
            f"run `hf download {repo} --repo-type dataset{pin} --local-dir {repo.rpartition('/')[2]}` where there is a "
            "network and give that folder",
            "dataset",
        )

    def at_commit(self, commit: str) -> "Storage":
        """The same dataset repository at a commit. Raises `ValueError` for any other place."""
        found = _HUB.fullmatch(self.root)
        if found is None:
            raise ValueError("only a repository of the Hub has commits")
        return Storage(f"{found[1]}{found[2]}@{quote(commit, safe='')}{found[4] or ''}")

    def pinned(self) -> "Storage":
        """Of a dataset repository the commit that its revision means now, so that all files are of one; else itself.

        Raises:
            UserError: the Hub does not give it.
        """
        source = self.on_hub
        if source is None:
            return self
        with explained(f"corpus {self.shown!r}", source):
            return self.at_commit(newest_commit(source))

    def is_folder(self) -> bool:
        """Whether the folder is there. Object stores have no folders: there it is true, the files will tell."""
        return not self.is_local or self.folder.is_dir()

    def is_file(self, name: str) -> bool:
        """Whether a file is there."""
        if self.is_local:
            return (self.folder / name).is_file()
        # Not `isfile`: it says no when the storage cannot be reached, and a file that matters would go unread.
        return self._ask(name, lambda filesystem, path: filesystem.info(path)["type"] == "file", absent=False)

    def file_names(self, folder: str) -> set[str] | None:
        """Names of the files in a folder below the root; `None` where they cannot be listed (plain HTTP)."""
        if self.is_local:
            path = self.folder / folder
            return {each.name for each in path.iterdir() if each.is_file()} if path.is_dir() else set()
        if re.search(r"(^|::)https?://", self.root):
            return None
        listed: list[str] = self._ask(folder, lambda filesystem, path: filesystem.ls(path, detail=False), absent=[])
        return {str(each).rstrip("/").rpartition("/")[2] for each in listed}

    def read_bytes(self, name: str) -> bytes:
        """A whole, small file."""
        if self.is_local:
            return (self.folder / name).read_bytes()
        return self._ask(name, lambda filesystem, path: bytes(filesystem.cat_file(path)))

    def parquet(self, name: str, dictionary: Sequence[str] = ()) -> pq.ParquetFile:
        """Open a Parquet file; only what is asked of it is read, remote files by range requests.

        Args:
            name: path below the root.
            dictionary: text columns to read as dictionary codes.
        """
        if self.is_local:
            return pq.ParquetFile(self.folder / name, read_dictionary=list(dictionary))
        # No cache of fsspec's own: Arrow joins the ranges of a row group and asks for exactly those (pre_buffer).
        file = self._ask(name, lambda filesystem, path: filesystem.open(path, "rb", cache_type="none"))
        return pq.ParquetFile(file, read_dictionary=list(dictionary), pre_buffer=True)

    def table(self, name: str, columns: Sequence[str]) -> pa.Table:
        """Some columns of a small Parquet file, read at once."""
        return pq.read_table(io.BytesIO(self.read_bytes(name)), columns=list(columns))

    @contextmanager
    def reading(self, name: str, cure: str) -> Iterator[None]:
        """Turn what goes wrong while a file is read into a `UserError` that names it and says `cure`."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # of any storage package, without a common base; ours are among _DAMAGE
            where = f"{self.shown}/{name}" if name else self.shown
            if self.is_local:
                if not isinstance(error, _DAMAGE):
                    raise
                reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
                raise UserError(f"{where!r} cannot be read ({reason}): {cure}") from error
            # Not chained: the message of a remote error may quote a signed URL.
            if self.on_hub and (refusal := hub_refusal(self.on_hub, error)):
                raise UserError(f"{where!r} cannot be read: {refusal}") from None
            raise UserError(f"{where!r} cannot be read ({type(error).__name__}): {cure}") from None

    def _ask(self, name: str, action: Callable[[Any, str], T], absent: T | None = None) -> T:
        """Do something with a remote path, its errors without their text."""
        from fsspec.core import url_to_fs  # here, because local corpora need no fsspec

        try:
            filesystem, path = url_to_fs(self.root)  # cached by fsspec, per process
            return action(filesystem, f"{path.rstrip('/')}/{name}")
        except ImportError as error:
            raise UserError(f"{self.shown!r} needs a package that is not installed: {error}") from error
        except Exception as error:  # of any storage package; not chained, its message may quote a signed URL
            if self.on_hub and (refusal := hub_refusal(self.on_hub, error)):
                raise UserError(f"{self.shown!r} cannot be read: {refusal}") from None
            if isinstance(error, FileNotFoundError):
                if absent is not None:
                    return absent
                raise UserError(f"{self.shown!r} has no {name}, or it is not yours to read") from None
            raise UserError(
                f"{self.shown!r} cannot be reached ({type(error).__name__}): check the address, the network and your "
                "login"
            ) from None

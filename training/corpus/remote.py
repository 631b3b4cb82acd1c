"""Files that a source manifest names by URL: fetched one at a time, curated, removed.

Only URLs that the user wrote down and allowed. Video sites are refused: their terms forbid fetching files.
"""

import errno
import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import fsspec

from training.corpus.sources import Scan, SourceFile, file_drop
from training.errors import UserError

SCHEMES = frozenset(["http", "https", "s3", "gs", "az", "abfs", "hf"])
VIDEO_SITES = (
    *("youtube.com", "youtube-nocookie.com", "youtu.be", "vimeo.com", "dailymotion.com", "bilibili.com"),
    *("tiktok.com", "facebook.com", "instagram.com", "websurg.com"),
)

Known = Callable[[SourceFile], bool]  # whether the corpus holds a file already


def plain_url(url: str) -> str:
    """A URL as it may be shown: without password, and with a hash for its query, which may be a key."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "not-a-url"
    query = f"?{hashlib.sha256(parts.query.encode()).hexdigest()[:12]}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{query}"


def check_url(url: str) -> tuple[str, str] | None:
    """Reason and detail why a URL is not fetched; `None` when it may be."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower().rstrip(".")
    except ValueError:
        return "not_fetched", "not a URL"
    if parts.scheme.lower() not in SCHEMES or "::" in url or not host:
        return "not_fetched", f"not a plain URL of one of {', '.join(sorted(SCHEMES))}"
    if any(host == site or host.endswith(f".{site}") for site in VIDEO_SITES):
        return "not_fetched", "a video site, whose terms forbid it: get the file on terms that allow it, give its path"
    return None


def fetch_files(files: Sequence[SourceFile], known: Known, staging: Path) -> Iterator[Scan]:
    """The files behind URLs, one URL at a time; they are gone when the next one is asked for.

    Args:
        files: with `url`; several may be parts of one video.
        known: files for which this is true are passed over, unfetched.
        staging: folder that holds what was fetched.

    Yields:
        The files with size and location, or rejected as "not_fetched" with the reason.

    Raises:
        UserError: a kind of URL whose package is not installed.
    """
    by_url: dict[str, list[SourceFile]] = defaultdict(list)
    for file in files:
        if not known(file):
            by_url[file.url].append(file)
    for url, parts in by_url.items():
        with tempfile.TemporaryDirectory(dir=staging) as folder:
            location = Path(folder) / f"file{Path(urlsplit(url).path).suffix.lower()}"
            found = Scan()
            try:
                system, path = fsspec.core.url_to_fs(url)
                system.get_file(path, str(location))
            except ImportError as error:
                raise UserError(f"{plain_url(url)!r} needs another package: {error}") from error
            # fsspec file systems raise errors of their own HTTP or cloud library, which have no common base
            except Exception as error:
                if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                for file in parts:
                    found.rejected.append((file, file_drop(file, "", "not_fetched", type(error).__name__)))
            else:
                for file in parts:
                    found.add(fetched(file, location))
            yield found


def fetched(file: SourceFile, location: Path) -> SourceFile:
    """A file that was brought to `location`. Its content stands in for a time of change, which it has not."""
    with location.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return replace(file, location=location, size=location.stat().st_size, mtime_ns=int(digest[:15], 16))

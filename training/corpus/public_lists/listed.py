"""What a public list says, and how the user's files are matched to it by YouTube id."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from training.corpus.sources import VIDEO_SUFFIXES
from training.registry import Registry

Row = dict[str, Any]  # of a source manifest


@dataclass(frozen=True)
class Match:
    """The user's files that a list names."""

    rows: list[Row]  # one per file, `path` as given
    missing: list[str]  # entries of the list without a file
    unlisted: list[str]  # files that could be meant but are in no entry


# Takes the list (a file or folder) and the paths of the user's files relative to their folder.
LISTS: Registry[Callable[[Path, Sequence[str]], Match]] = Registry("public list")


def match_videos(entries: Mapping[str, Row], files: Sequence[str]) -> Match:
    """Match video files to entries by the YouTube id in their names.

    Args:
        entries: YouTube id -> labels, columns of a source manifest.
        files: paths; of several files of one video the first in order is taken.
    """
    rows: list[Row] = []
    taken: set[str] = set()
    unlisted = []
    for path in sorted(files):
        if PurePosixPath(path).suffix.lower() not in VIDEO_SUFFIXES:
            continue
        video = next((name for name in _possible_ids(path) if name in entries), None)
        if video is None or video in taken:
            unlisted.append(path)
            continue
        taken.add(video)
        rows.append({"path": path, "video_id": video, "case_id": video, **entries[video]})
    return Match(rows, [video for video in entries if video not in taken], unlisted)


def youtube_id(link: str) -> str | None:
    """The id in a link of any usual form; `None` when there is none."""
    match = re.search(r"(?:youtu\.be/|[?&]v=|/embed/|/shorts/)([A-Za-z0-9_-]{11})(?![A-Za-z0-9_-])", link)
    return match[1] if match else None


def _possible_ids(path: str) -> list[str]:
    """Ids that a file name may carry: `ID.mp4`, `Title [ID].mp4`, `Title-ID.mp4`, `ID.Title.mp4`, best first."""
    stem = PurePosixPath(path).stem
    return [
        stem,
        *re.findall(r"\[([A-Za-z0-9_-]{11})\]", stem),
        *re.findall(r"[-_ .]([A-Za-z0-9_-]{11})$", stem),
        stem[:11],
    ]

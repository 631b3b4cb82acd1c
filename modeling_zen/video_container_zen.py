"""What the first bytes of a video file say of its container: whether it has an index, and how long it should be."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")  # that an MP4 or MOV may begin with
_EBML, _SEGMENT = b"\x1aE\xdf\xa3", b"\x18S\x80g"  # what a Matroska file consists of


def has_index(path: str) -> bool:
    """Whether the file is of a container with an index: MP4, MOV, MKV, WebM or AVI."""
    with Path(path).open("rb") as file:
        begin = file.read(12)
    is_avi = begin.startswith(b"RIFF") and begin.endswith(b"AVI ")
    return is_avi or begin.startswith(_EBML) or begin[4:8] in _BOXES


def is_cut_short(path: str) -> bool:
    """Whether such a file ends before the sizes in it say. A container that states no size is never found short."""
    length = Path(path).stat().st_size
    with Path(path).open("rb") as file:
        begin = file.read(8)
        file.seek(0)
        if begin.startswith(b"RIFF"):
            ends = _riff_ends(file)
        elif begin.startswith(_EBML):
            ends = _matroska_ends(file)
        else:
            ends = _box_ends(file)
        return any(end > length for end in ends)


def _riff_ends(file: BinaryIO) -> Iterator[int]:
    """Where the chunks of an AVI end, in bytes from the beginning; one of several gigabytes has many."""
    position = 0
    while (header := file.read(8)).startswith(b"RIFF") and len(header) == 8:
        size = int.from_bytes(header[4:], "little")
        if size == 0xFFFFFFFF:  # written without going back
            return
        position += 8 + size
        yield position
        position += size % 2
        file.seek(position)


def _matroska_ends(file: BinaryIO) -> Iterator[int]:
    while file.read(4) in (_EBML, _SEGMENT):
        first = file.read(1)
        more = 8 - first[0].bit_length() if first and first[0] else 8
        if more > 7:
            return
        # The highest bit that is set tells how many bytes follow; all bits set: of unknown size, as of a live stream.
        size = int.from_bytes(first + file.read(more), "big") - (1 << 7 * (more + 1))
        if size == (1 << 7 * (more + 1)) - 1:
            return
        yield file.tell() + size
        file.seek(size, 1)


def _box_ends(file: BinaryIO) -> Iterator[int]:
    position = 0
    while len(header := file.read(16)) >= 8 and header[4:8] in (*_BOXES, b"moof", b"mfra", b"sidx", b"styp"):
        size = int.from_bytes(header[:4], "big")
        if size == 1:
            size = int.from_bytes(header[8:], "big")
        if size < 8:  # 0: to the end of the file
            return
        position += size
        yield position
        file.seek(position)


__all__ = ["has_index", "is_cut_short"]

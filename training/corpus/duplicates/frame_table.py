"""The frames of a corpus as columns, and their thumbnails: what the search for duplicates looks at."""

import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from training.corpus.filters.picture import THUMBNAIL
from training.corpus.manifest import SHARD_FOLDER, Clip
from training.errors import UserError


@dataclass(frozen=True)
class FrameTable:
    """All frames of some clips, in the order of the clips.

    Attributes:
        folder: of the corpus.
        clips: of its manifest.
        clip: int32 (N,), position in `clips`.
        position: int32 (N,), frame in the clip.
        phash: uint64 (N,).
        video: int32 (N,), equal for frames of one video.
        held_out: bool (N,).
    """

    folder: Path
    clips: Sequence[Clip]
    clip: np.ndarray
    position: np.ndarray
    phash: np.ndarray
    video: np.ndarray
    held_out: np.ndarray

    def __len__(self) -> int:
        return len(self.clip)

    @cached_property
    def row(self) -> np.ndarray:
        """Row of its shard, int64 (N,)."""
        return np.array([clip.shard_row for clip in self.clips], np.int64)[self.clip] + self.position

    def by_shard(self, frames: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Some frames by shard: its name, where in `frames` they are, int64 (M,), and their rows, ascending."""
        names, codes = np.unique([clip.shard for clip in self.clips], return_inverse=True)
        owners, rows = codes[self.clip[frames]], self.row[frames]
        order = np.lexsort((rows, owners))
        present, firsts = np.unique(owners[order], return_index=True)
        for code, mine in zip(present.tolist(), np.split(order, firsts[1:]), strict=False):  # no frames: one empty part
            yield str(names[code]), mine, rows[mine]


def read_frames(folder: Path, clips: Sequence[Clip]) -> FrameTable:
    """The frames of some clips of a corpus; of the shards only the column of the hashes is read.

    Raises:
        UserError: a shard cannot be read, or is shorter than the manifest says.
    """
    lengths = np.array([clip.num_frames for clip in clips], np.int64)
    starts = np.cumsum(lengths) - lengths
    clip = np.repeat(np.arange(len(clips), dtype=np.int32), lengths)
    position = (np.arange(len(clip)) - starts[clip]).astype(np.int32)
    _, video = np.unique([clip.video_id for clip in clips], return_inverse=True)
    held_out = np.array([clip.split == "held_out" for clip in clips], bool)
    phash = np.zeros(len(clip), np.uint64)
    frames = FrameTable(folder, clips, clip, position, phash, video.astype(np.int32)[clip], held_out[clip])
    for name, mine, rows in frames.by_shard(np.arange(len(clip))):
        hashes = read_hashes(folder / SHARD_FOLDER / name)
        if rows[-1] >= len(hashes):
            raise UserError(
                f"shard {name} of corpus {str(folder)!r} has {len(hashes)} rows, its manifest names row {rows[-1]}: "
                "copy the corpus completely"
            )
        phash[mine] = hashes[rows]
    return frames


def read_hashes(shard: Path) -> np.ndarray:
    """The perceptual hashes of a shard, uint64 (rows,). Raises `UserError` when it cannot be read."""
    with _reading(shard):
        return pq.read_table(shard, columns=["phash"])["phash"].to_numpy()


def read_images(shard: Path, rows: np.ndarray) -> Iterator[bytes]:
    """The encoded images of some rows of a shard, ascending; row groups without any are passed over.

    Raises:
        UserError: the shard cannot be read.
    """
    with _reading(shard), pq.ParquetFile(shard) as file:
        start = 0
        for group in range(file.metadata.num_row_groups):
            end = start + file.metadata.row_group(group).num_rows
            wanted = rows[np.searchsorted(rows, start) : np.searchsorted(rows, end)] - start
            if len(wanted):
                images = file.read_row_group(group, columns=["image"])["image"].combine_chunks().field("bytes")
                for row in wanted.tolist():
                    yield images[row].as_py()
            start = end


def decode(image: bytes, flag: int, where: str) -> np.ndarray:
    """Decode an image with a flag of OpenCV. Raises `UserError`, which says `where` it is, when that is impossible."""
    decoded = cv2.imdecode(np.frombuffer(image, np.uint8), flag)
    if decoded is None:
        raise UserError(f"{where} is no readable image: copy the corpus completely")
    return decoded


def thumbnail_of(image: bytes, where: str) -> np.ndarray:
    """The thumbnail of an encoded image, uint8 (32, 32) gray levels. Raises what `decode` does."""
    return cv2.resize(decode(image, cv2.IMREAD_GRAYSCALE, where), (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)


def read_thumbnails(frames: FrameTable, wanted: np.ndarray) -> np.ndarray:
    """The thumbnails of some frames, uint8 (M, 32, 32), in a file without a name: 1 kB each would fill main memory."""
    shape = (len(wanted), THUMBNAIL, THUMBNAIL)
    if not len(wanted):
        return np.zeros(shape, np.uint8)
    with tempfile.TemporaryFile(dir=frames.folder) as file:
        if hasattr(os, "posix_fallocate"):  # else a full disk ends this process at some write, without a word
            os.posix_fallocate(file.fileno(), 0, math.prod(shape))
        thumbnails = np.memmap(file, np.uint8, "w+", shape=shape)
    for name, mine, rows in frames.by_shard(wanted):
        shard = frames.folder / SHARD_FOLDER / name
        for place, row, image in zip(mine.tolist(), rows.tolist(), read_images(shard, rows), strict=True):
            thumbnails[place] = thumbnail_of(image, where_in(shard, row))
    return thumbnails


def where_in(shard: Path, row: int) -> str:
    """A row of a shard, for messages."""
    return f"row {row} of shard {str(shard)!r}"


@contextmanager
def _reading(shard: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, KeyError, pa.ArrowException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"shard {str(shard)!r} cannot be read: {reason}") from error

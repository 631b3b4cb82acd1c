"""Which frames may be drawn: runs of neighbouring stored frames, without what `duplicates.parquet` leaves out."""

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from training.corpus.clip_table import ClipTable, as_numpy
from training.corpus.storage import Storage
from training.errors import UserError

DUPLICATES_FILE = "duplicates.parquet"


@dataclass(frozen=True)
class Segments:
    """Runs of frames, in manifest order. A clip without a left-out frame is one run, others are cut at them.

    Attributes:
        clips: int32 (S,), position of the clip in the table that the segments were made of.
        starts: int32 (S,), first frame in the clip.
        lengths: int32 (S,), frames, at least 1.
        weights: float64 (S,), sampling weight of the clip.
    """

    clips: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    weights: np.ndarray

    @property
    def num_frames(self) -> int:
        """Frames of all runs."""
        return int(self.lengths.sum(dtype=np.int64))

    def locate(self, numbers: np.ndarray) -> list[tuple[int, int]]:
        """(clip, position in the clip) of some frames, counted through all runs from 0."""
        ends = np.cumsum(self.lengths, dtype=np.int64)
        runs = np.searchsorted(ends, numbers, side="right")
        positions = numbers - (ends[runs] - self.lengths[runs]) + self.starts[runs]
        return list(zip(self.clips[runs].tolist(), positions.tolist(), strict=True))


@dataclass(frozen=True)
class LeftOut:
    """Frames that are not drawn: rows of the manifest and positions in the clip, int64 (D,) each, sorted, distinct."""

    rows: np.ndarray
    positions: np.ndarray


def read_left_out(storage: Storage, manifest: ClipTable) -> LeftOut:
    """The frames that `duplicates.parquet` lists without calling them representative; none if there is no such file.

    Raises:
        UserError: the file cannot be read, or names a clip or frame that the manifest does not have.
    """
    if not storage.is_file(DUPLICATES_FILE):
        return LeftOut(np.zeros(0, np.int64), np.zeros(0, np.int64))
    cure = "find the duplicates of this corpus anew, or remove the file"
    with storage.reading(DUPLICATES_FILE, cure):
        table = storage.table(DUPLICATES_FILE, ["clip_id", "position", "representative"])
    table = table.filter(pc.invert(table["representative"]))
    rows, positions = manifest.find(table["clip_id"]), as_numpy(table["position"]).astype(np.int64)
    where = f"{DUPLICATES_FILE} of corpus {storage.shown!r}"
    if len(unknown := np.flatnonzero(rows < 0)):
        raise UserError(f"{where} names clip {table['clip_id'][int(unknown[0])]}, which the manifest lacks: {cure}")
    lengths = manifest.numbers("num_frames")[rows] if len(rows) else positions
    if len(wrong := np.flatnonzero((positions < 0) | (positions >= lengths))):
        first = int(wrong[0])
        raise UserError(
            f"{where} names frame {positions[first]} of clip {table['clip_id'][first]}, which has {lengths[first]} "
            f"frames: {cure}"
        )
    distinct = np.unique(np.stack([rows, positions], axis=1), axis=0)  # (D, 2), sorted by row, then position
    return LeftOut(distinct[:, 0], distinct[:, 1])


def cut_segments(lengths: np.ndarray, weights: np.ndarray, left_out: LeftOut) -> Segments:
    """Cut clips at the frames that are left out.

    Args:
        lengths: frames of each clip, (N,).
        weights: of each clip, (N,).
        left_out: with `rows` that count through these N clips.
    """
    clips = np.arange(len(lengths), dtype=np.int32)
    starts, ends = np.zeros(len(lengths), np.int32), lengths.astype(np.int32)
    if len(left_out.rows):
        # Every frame that is left out ends a run and begins another; both lists in order of clip and position.
        owners = np.concatenate([clips, left_out.rows.astype(np.int32)])
        starts = np.concatenate([starts, left_out.positions + 1])
        ends = np.concatenate([ends, left_out.positions])
        by_start, by_end = np.lexsort((starts, owners)), np.lexsort((ends, owners))
        clips, starts, ends = owners[by_start], starts[by_start].astype(np.int32), ends[by_end].astype(np.int32)
    kept = ends > starts
    clips, starts, ends = clips[kept], starts[kept], ends[kept]
    return Segments(clips, starts, ends - starts, weights[clips].astype(np.float64))

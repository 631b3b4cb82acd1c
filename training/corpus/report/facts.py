"""What a corpus holds, in numbers: only columns of its tables are read, so millions of frames take seconds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from training.corpus.clip_table import as_numpy
from training.corpus.corpus import Corpus
from training.corpus.segments import read_left_out

UNKNOWN = "not recorded"


@dataclass(frozen=True)
class Group:
    """Clips that have something in common."""

    name: str
    detail: str  # what else is said of it, "" for nothing
    clips: int
    cases: int
    frames: float  # a clip of several procedures counts in parts
    train_frames: float  # of these, frames of the train split that may be drawn
    drawn: float  # expected frames per epoch: the sum of their sampling weights


@dataclass(frozen=True)
class ClipColumns:
    """The columns of a manifest that are counted, one row per clip (N,)."""

    frames: np.ndarray  # int64
    drawable: np.ndarray  # int64, without duplicates
    weights: np.ndarray  # float64
    train: np.ndarray  # bool
    cases: np.ndarray  # int64, code
    seconds: np.ndarray  # float64, length of video that the frames stand for; 0 for single stills

    @property
    def drawn(self) -> np.ndarray:
        """Expected frames per epoch of each clip, float64 (N,)."""
        return np.where(self.train, self.drawable * self.weights, 0.0)


def read_columns(corpus: Corpus) -> ClipColumns:
    """Read what is counted.

    Raises:
        UserError: duplicates.parquet is there and does not belong to this manifest.
    """
    table = corpus.manifest
    frames = table.numbers("num_frames").astype(np.int64)
    drawable = frames.copy()
    np.subtract.at(drawable, read_left_out(corpus.storage, table).rows, 1)
    fps = as_numpy(pc.fill_null(table.column("fps"), 0.0))
    seconds = np.divide(frames, fps, out=np.zeros(len(fps)), where=fps > 0)
    splits, names = _codes(table.column("split"))
    return ClipColumns(
        frames=frames,
        drawable=drawable,
        weights=table.numbers("weight"),
        train=np.isin(splits, [code for code, name in enumerate(names) if name == "train"]),
        cases=_codes(table.column("case_id"))[0],
        seconds=seconds,
    )


def group_by_text(corpus: Corpus, columns: ClipColumns, name: str, detail: str = "") -> list[Group]:
    """Clips counted by a text column, and by a second one if given; most frames first."""
    values, names = _codes(corpus.manifest.column(name))
    if not detail:
        return _groups(values, [(each, "") for each in names], columns)
    others, words = _codes(corpus.manifest.column(detail))
    pairs, codes = np.unique(values * max(len(words), 1) + others, return_inverse=True)
    labels = [(names[pair // len(words)], words[pair % len(words)]) for pair in pairs.tolist()]
    return _groups(codes, labels, columns)


def group_by_list(corpus: Corpus, columns: ClipColumns, name: str, empty: str) -> list[Group]:
    """Clips counted by a column of lists; a clip with several names counts with equal parts in each.

    Args:
        corpus: open.
        columns: of its manifest.
        name: the column.
        empty: name of the group of clips without any; "" leaves them out.
    """
    lists = corpus.manifest.column(name).combine_chunks()
    lengths = as_numpy(pc.fill_null(pc.list_value_length(lists), 0)).astype(np.int64)
    owners = as_numpy(pc.list_parent_indices(lists)).astype(np.int64)
    values, names = _codes(pc.list_flatten(lists))
    parts = 1 / np.maximum(lengths[owners], 1)
    if empty:
        bare = np.flatnonzero(lengths == 0)
        values, names = np.concatenate([values, np.full(len(bare), len(names))]), [*names, empty]
        owners, parts = np.concatenate([owners, bare]), np.concatenate([parts, np.ones(len(bare))])
    return _groups(values, [(each, "") for each in names], columns, owners, parts)


def _groups(
    codes: np.ndarray,
    labels: Sequence[tuple[str, str]],
    columns: ClipColumns,
    owners: np.ndarray | None = None,
    parts: np.ndarray | None = None,
) -> list[Group]:
    """Counts by code.

    Args:
        codes: int64 (P,), group of each part of a clip.
        labels: name and detail of each group.
        columns: of the clips.
        owners: int64 (P,), clip of each part; `None` where every clip has one part.
        parts: float64 (P,), how much of the clip it is.
    """
    owners = np.arange(len(codes)) if owners is None else owners
    parts = np.ones(len(codes)) if parts is None else parts
    size = len(labels)
    cases = np.unique(np.stack([codes, columns.cases[owners]]), axis=1)[0] if len(codes) else codes
    clips = np.bincount(codes, minlength=size)
    case_counts = np.bincount(cases, minlength=size)
    sums = [
        np.bincount(codes, parts * values[owners], size)
        for values in (columns.frames, np.where(columns.train, columns.drawable, 0), columns.drawn)
    ]
    groups = [
        Group(name, detail, int(clips[code]), int(case_counts[code]), *(float(each[code]) for each in sums))
        for code, (name, detail) in enumerate(labels)
        if clips[code]
    ]
    return sorted(groups, key=lambda group: (-group.frames, group.name, group.detail))


def _codes(values: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    """A text column as codes int64 (N,) and their names; missing and empty text is one name."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    texts = pc.fill_null(values.cast(pa.string()), "")
    encoded = pc.dictionary_encode(texts)
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    names = [name or UNKNOWN for name in encoded.dictionary.to_pylist()]
    return as_numpy(encoded.indices).astype(np.int64), names

"""Reading a corpus: its manifest, and the frames and masks of any clip, from a folder, a URL or the Hub."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from training.corpus.cache import ReadCache
from training.corpus.clip_table import ClipTable, as_numpy
from training.corpus.manifest import CURATION_FILE, MANIFEST_FILE, SHARD_FOLDER, Clip
from training.corpus.masks import MASK_SCHEMA, MASKS_FILE, Mask, Masks
from training.corpus.segments import DUPLICATES_FILE, LeftOut, Segments, cut_segments, read_left_out
from training.corpus.shards import RowGroup, ShardFile, ShardIndex
from training.corpus.storage import Storage
from training.errors import UserError

OPEN_SHARDS = 36  # files kept open per process: one per block of a shuffle window and some; 4 MB of Parquet footer each
INDEXED_SHARDS = 4096  # shards of which is remembered which row group holds which rows; 2 kB each
# Bytes of row groups kept per process: one shuffle window of the default settings (2048 groups of 2 frames of 20 kB),
# so that a process reads no row group twice while it works through a window.
CACHED_BYTES = 96_000_000
SPLITS = ("train", "held_out")
_AGAIN = "run the same python -m training.curate command again to complete it"


@dataclass(frozen=True)
class Counts:
    """Sizes of a split."""

    cases: int
    videos: int
    clips: int
    frames: int


@dataclass(frozen=True)
class CaseFrames:
    """All frames of one case, in manifest order, numbered from 0."""

    case_id: str
    clips: np.ndarray  # positions in the table of the split, int64 (C,)
    ends: np.ndarray  # frames up to and including each of these clips, int64 (C,)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def locate(self, number: int) -> tuple[int, int]:
        """Position of the clip in the table of the split, and of the frame in the clip."""
        own = int(np.searchsorted(self.ends, number, side="right"))
        return int(self.clips[own]), number - int(self.ends[own - 1] if own else 0)


class Corpus:
    """A curated corpus, open for reading. Make one with `Corpus.open`.

    It may be shared with forked or spawned DataLoader workers: files are opened when first read, once per process.

    Attributes:
        storage: where it lies.
        manifest: all clips, in file order.
        fingerprint: SHA-256 of the manifest's content.
    """

    def __init__(self, storage: Storage, manifest: ClipTable, fingerprint: str, masks: Masks | None = None) -> None:
        self.storage = storage
        self.manifest = manifest
        self.fingerprint = fingerprint
        self._masks = masks or Masks(storage.shown, [])
        self._shards = ReadCache(OPEN_SHARDS)
        self._indices = ReadCache(INDEXED_SHARDS)
        self._groups = ReadCache(CACHED_BYTES)

    @classmethod
    def open(cls, location: str | Path) -> "Corpus":
        """Open a corpus.

        Args:
            location: a local folder, any fsspec URL, or `hf://datasets/ORG/NAME[@revision]`; see `storage`. All of
                the latter is read of the commit that is its newest now.

        Raises:
            UserError: the folder, one of its files or a shard is missing, the files do not belong together, or the Hub
                does not give them.
        """
        storage = Storage.at(location).pinned()
        where = repr(storage.shown)
        if not storage.is_folder():
            raise UserError(f"corpus folder {where} does not exist: make one with python -m training.curate")
        for name in (CURATION_FILE, MANIFEST_FILE):
            if not storage.is_file(name):
                cure = _AGAIN if storage.is_local else "is it a corpus that training.corpus_publish made, and whole?"
                raise UserError(f"corpus {where} has no {name}: {cure}")
        with storage.reading(CURATION_FILE, _AGAIN):
            facts = json.loads(storage.read_bytes(CURATION_FILE).decode("utf-8"))
            fingerprint, clips = str(facts["fingerprint"]), int(facts["counts"]["clips"])
        with storage.reading(MANIFEST_FILE, _AGAIN):
            manifest = ClipTable.open(storage)
            shards = pc.unique(manifest.column("shard")).to_pylist()
        if clips != len(manifest):
            raise UserError(
                f"corpus {where} is incomplete: {CURATION_FILE} counts {clips} clips, {MANIFEST_FILE} holds "
                f"{len(manifest)}; {_AGAIN}"
            )
        present = storage.file_names(SHARD_FOLDER)
        if present is not None and (missing := sorted(set(shards) - present)):
            raise UserError(f"corpus {where} lacks {SHARD_FOLDER}/{missing[0]}: copy it completely")
        return cls(storage, manifest, fingerprint, _open_masks(storage))

    @property
    def name(self) -> str:
        """Name of its folder."""
        return self.storage.name

    @property
    def revision(self) -> str | None:
        """The commit that it is read of; `None` unless it is on the Hub."""
        return self.storage.on_hub.revision if self.storage.on_hub else None

    def clips(self, split: str) -> ClipTable:
        """The clips of one split, "train" or "held_out", in manifest order. Raises `UserError` for another name."""
        if split not in SPLITS:
            raise UserError(f"unknown split {split!r}. Known: held_out, train")
        return self.manifest.where("split", split)

    def count(self, split: str) -> Counts:
        """Sizes of one split."""
        clips = self.clips(split)
        cases, videos = (len(pc.unique(clips.column(name))) for name in ("case_id", "video_id"))
        return Counts(cases, videos, len(clips), int(clips.numbers("num_frames").sum(dtype=np.int64)))

    def sources(self) -> list[str]:
        """Names of the sources of all clips, sorted."""
        return sorted(pc.unique(self.manifest.column("source")).to_pylist())

    def procedures(self) -> list[str]:
        """Names of the procedures of all clips, sorted."""
        return sorted(pc.unique(pc.list_flatten(self.manifest.column("procedures"))).to_pylist())

    def cases(self, split: str) -> list[CaseFrames]:
        """The cases of one split in the order of their names, with the frames of each."""
        clips = self.clips(split)
        encoded = clips.column("case_id").unify_dictionaries().combine_chunks()
        names = encoded.dictionary.to_pylist()
        codes = as_numpy(encoded.indices)
        lengths = clips.numbers("num_frames").astype(np.int64)
        order = np.argsort(codes, kind="stable")
        present, firsts = np.unique(codes[order], return_index=True)
        parts = np.split(order, firsts[1:]) if len(present) else []
        found = [
            CaseFrames(names[code], own, np.cumsum(lengths[own])) for code, own in zip(present, parts, strict=True)
        ]
        return sorted(found, key=lambda case: case.case_id)

    def find(self, clip_ids: Sequence[str]) -> dict[str, Clip]:
        """Clips by their id.

        Raises:
            UserError: one that the manifest does not have.
        """
        rows = self.manifest.find(clip_ids)
        if len(unknown := np.flatnonzero(rows < 0)):
            raise UserError(f"corpus {self.storage.shown!r} has no clip {clip_ids[int(unknown[0])]!r}")
        return {clip.clip_id: clip for clip in self.manifest.select(rows)}

    def segments(self, split: str) -> Segments:
        """The frames of one split that may be drawn; `clips` counts through `clips(split)`.

        Raises:
            UserError: duplicates.parquet is there and does not belong to this manifest.
        """
        clips = self.clips(split)
        left_out = read_left_out(self.storage, self.manifest)
        own = clips.rows
        positions = np.searchsorted(own, left_out.rows)
        mine = (positions < len(own)) & (own[np.minimum(positions, len(own) - 1)] == left_out.rows) if len(own) else []
        left_out = LeftOut(positions[mine], left_out.positions[mine])
        return cut_segments(clips.numbers("num_frames"), clips.numbers("weight"), left_out)

    def duplicates_sha256(self) -> str | None:
        """Digest of duplicates.parquet; `None` without one."""
        if not self.storage.is_file(DUPLICATES_FILE):
            return None
        return hashlib.sha256(self.storage.read_bytes(DUPLICATES_FILE)).hexdigest()

    def mask(self, clip: Clip) -> np.ndarray | None:
        """Which pixels of a clip's frames are valid: bool (height, width), or `None` when all of them are.

        Raises:
            UserError: the mask is missing, broken or of another size than the clip.
        """
        if not clip.mask:
            return None
        valid = self._masks.get(clip.mask)
        if valid.shape != (clip.height, clip.width):
            raise UserError(
                f"mask {clip.mask!r} has {valid.shape[1]} x {valid.shape[0]} pixels, clip {clip.clip_id!r} "
                f"{clip.width} x {clip.height}: {MASKS_FILE} and manifest of {self.storage.shown!r} do not belong "
                "together"
            )
        return valid

    def encoded(self, clip: Clip, positions: Sequence[int]) -> Iterator[tuple[int, pa.Buffer]]:
        """Row of the shard and JPEG or WebP of frames of a clip; arguments and errors as for `read`."""
        for position in positions:
            if not 0 <= position < clip.num_frames:
                raise UserError(f"clip {clip.clip_id!r} has frames 0 to {clip.num_frames - 1}, not {position}")
            row = clip.shard_row + position
            clip_id, image = self._row(clip.shard, row)
            if clip_id != clip.clip_id:
                raise UserError(
                    f"row {row} of {SHARD_FOLDER}/{clip.shard} belongs to clip {clip_id!r}, not "
                    f"to {clip.clip_id!r}: shard and manifest of {self.storage.shown!r} do not belong together"
                )
            yield row, image

    def read(self, clip: Clip, positions: Sequence[int]) -> list[np.ndarray]:
        """Decode frames of a clip.

        Args:
            clip: a row of this corpus's manifest.
            positions: frame positions in the clip, 0 to `num_frames` - 1, in any order.

        Returns:
            One uint8 (H, W, 3) RGB array per position.

        Raises:
            UserError: a position outside the clip, a missing or broken shard, or rows that are not this clip's.
        """
        frames = []
        for row, encoded in self.encoded(clip, positions):
            image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB)
            if image is None:
                raise UserError(f"row {row} of {SHARD_FOLDER}/{clip.shard} is no readable JPEG or WebP")
            frames.append(image)
        return frames

    def _row(self, name: str, row: int) -> tuple[str, pa.Buffer]:
        """Clip id and image of one row of a shard."""
        path = f"{SHARD_FOLDER}/{name}"
        with self.storage.reading(path, "copy the corpus completely"):
            index: ShardIndex = self._indices.get(name, lambda: self._shard(name).index)
            if row >= index.num_rows:
                raise UserError(
                    f"{path} has {index.num_rows} rows, the manifest of {self.storage.shown!r} points to row {row}: "
                    "shard and manifest do not belong together"
                )
            group, position = index.locate(row)
            rows: RowGroup = self._groups.get(
                (name, group), lambda: self._shard(name).read(group), lambda made: made.nbytes
            )
        return rows.row(position)

    def _shard(self, name: str) -> ShardFile:
        return self._shards.get(name, lambda: ShardFile(self.storage.parquet(f"{SHARD_FOLDER}/{name}")))


def _open_masks(storage: Storage) -> Masks:
    """The masks of a corpus; none when it has no such file."""
    if not storage.is_file(MASKS_FILE):
        return Masks(storage.shown, [])
    with storage.reading(MASKS_FILE, _AGAIN):
        rows = storage.table(MASKS_FILE, MASK_SCHEMA.names).to_pylist()
        return Masks(storage.shown, [Mask(**row) for row in rows])

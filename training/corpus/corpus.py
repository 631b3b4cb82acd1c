"""Reading a corpus: its manifest, and the frames of any clip."""

import json
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from training.corpus.manifest import CURATION_FILE, MANIFEST_FILE, SHARD_FOLDER, Clip, read_clips
from training.corpus.shards import ShardFile
from training.errors import UserError

OPEN_SHARDS = 8  # files kept open per process
CACHED_GROUPS = 8  # row groups kept per process; a few MB, so that the clips of one group are read once


class Corpus:
    """A curated corpus, open for reading. Make one with `Corpus.open`.

    It may be shared with forked or spawned DataLoader workers: files are opened when first read, once per process.

    Attributes:
        folder: where it lies.
        manifest: all clips, in file order.
        fingerprint: SHA-256 of the manifest's content.
    """

    def __init__(self, folder: Path, manifest: list[Clip], fingerprint: str) -> None:
        self.folder = folder
        self.manifest = manifest
        self.fingerprint = fingerprint
        self._forget()

    @classmethod
    def open(cls, folder: str | Path) -> "Corpus":
        """Open a corpus folder.

        Raises:
            UserError: the folder, one of its files or a shard is missing, or the files do not belong together.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise UserError(f"corpus folder {str(folder)!r} does not exist: make one with python -m training.curate")
        again = "run the same python -m training.curate command again to complete it"
        for name in (CURATION_FILE, MANIFEST_FILE):
            if not (folder / name).is_file():
                raise UserError(f"corpus {str(folder)!r} has no {name}: {again}")
        try:
            facts = json.loads((folder / CURATION_FILE).read_text(encoding="utf-8"))
            manifest = read_clips(folder / MANIFEST_FILE)
            fingerprint, clips = str(facts["fingerprint"]), int(facts["counts"]["clips"])
        except (KeyError, TypeError, ValueError, OSError, pa.ArrowException) as error:
            raise UserError(
                f"corpus {str(folder)!r} cannot be read ({type(error).__name__}: {error}): {again}"
            ) from error
        if clips != len(manifest):
            raise UserError(
                f"corpus {str(folder)!r} is incomplete: {CURATION_FILE} counts {clips} clips, {MANIFEST_FILE} holds "
                f"{len(manifest)}; {again}"
            )
        for shard in sorted({clip.shard for clip in manifest}):
            if not (folder / SHARD_FOLDER / shard).is_file():
                raise UserError(f"corpus {str(folder)!r} lacks {SHARD_FOLDER}/{shard}: copy it completely")
        return cls(folder, manifest, fingerprint)

    def clips(self, split: str) -> list[Clip]:
        """The clips of one split, "train" or "held_out", in manifest order. Raises `UserError` for another name."""
        if split not in ("train", "held_out"):
            raise UserError(f"unknown split {split!r}. Known: held_out, train")
        return [clip for clip in self.manifest if clip.split == split]

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
        for position in positions:
            if not 0 <= position < clip.num_frames:
                raise UserError(f"clip {clip.clip_id!r} has frames 0 to {clip.num_frames - 1}, not {position}")
            clip_id, jpeg = self._row(clip.shard, clip.shard_row + position)
            if clip_id != clip.clip_id:
                raise UserError(
                    f"row {clip.shard_row + position} of {SHARD_FOLDER}/{clip.shard} belongs to clip {clip_id!r}, not "
                    f"to {clip.clip_id!r}: shard and manifest of {str(self.folder)!r} do not belong together"
                )
            image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
            if image is None:
                raise UserError(f"row {clip.shard_row + position} of {SHARD_FOLDER}/{clip.shard} is no readable JPEG")
            frames.append(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
        return frames

    def _row(self, name: str, row: int) -> tuple[str, bytes]:
        """Clip id and JPEG of one row of a shard."""
        if self._process != os.getpid():  # forked: file positions are shared with the parent, so open anew
            self._forget()
        path = self.folder / SHARD_FOLDER / name
        try:
            shard = _recent(self._shards, name, OPEN_SHARDS, lambda: ShardFile(path))
            if row >= shard.num_rows:
                raise UserError(
                    f"{SHARD_FOLDER}/{name} has {shard.num_rows} rows, the manifest of {str(self.folder)!r} points to "
                    f"row {row}: shard and manifest do not belong together"
                )
            group, position = shard.locate(row)
            clip_ids, jpegs = _recent(self._groups, (name, group), CACHED_GROUPS, lambda: shard.read(group))
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"shard {str(path)!r} cannot be read: {str(error).splitlines()[0]}") from error
        return clip_ids[position], jpegs[position]

    def _forget(self) -> None:
        self._process = os.getpid()
        self._shards: OrderedDict[str, ShardFile] = OrderedDict()
        self._groups: OrderedDict[tuple[str, int], tuple[list[str], list[bytes]]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "manifest": self.manifest, "fingerprint": self.fingerprint}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def _recent(cache: OrderedDict, key: Any, size: int, make: Any) -> Any:
    """The cached value of `key`, made if need be; the least recently used one beyond `size` is forgotten."""
    if key in cache:
        cache.move_to_end(key)
        return cache[key]
    value = cache[key] = make()
    if len(cache) > size:
        cache.popitem(last=False)
    return value

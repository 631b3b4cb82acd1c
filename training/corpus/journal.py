"""The journal: what a corpus holds, committed shard by shard, so that curation can be killed at any moment.

    OUT/journal/settings.json        the settings that must not change; its presence says that OUT is a corpus
    OUT/journal/00000/               one folder per commit: clips, drops, files and masks .parquet
    OUT/journal/work/<unit key>/     finished units whose frames are not in a shard yet (see `unit.py`)

A commit writes its shards, then its folder under a temporary name, then renames the folder: that rename is the moment
from which the shards count. Shards that no commit names are left-overs of a kill and are removed on the next start.
The tables beside it (manifest, masks, drops) and `curation.json` are derived from the journal at the end of every run.
"""

import fcntl
import json
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from training.corpus.atomic import replacing
from training.corpus.manifest import (
    CLIP_SCHEMA,
    DROP_SCHEMA,
    SHARD_FOLDER,
    Clip,
    Drop,
    read_clips,
    read_drops,
    write_rows,
)
from training.corpus.masks import MASK_SCHEMA, MASKS_FILE, Mask, read_masks
from training.corpus.settings import CurationSettings, fixed_settings
from training.corpus.shards import open_shard, shard_name
from training.corpus.unit import FileRecord, load_unit, staged_images, staged_masks
from training.errors import UserError

FILE_SCHEMA = pa.schema(
    [
        ("input", pa.string()),
        ("path", pa.string()),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("sha256", pa.string()),
        ("source", pa.string()),
        ("procedure", pa.string()),
        ("robotic", pa.bool_()),
        ("licence", pa.string()),
        ("frames_sampled", pa.int64()),
        ("frames_kept", pa.int64()),
        ("replaced", pa.bool_()),
        ("overlay", pa.string()),
    ]
)


@dataclass
class State:
    """Everything committed so far."""

    files: dict[tuple[str, str], FileRecord] = field(default_factory=dict)  # by SourceFile.key
    clips: list[Clip] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)
    masks: dict[str, Mask] = field(default_factory=dict)  # by mask_id
    commits: int = 0

    def add(
        self, files: Iterable[FileRecord], clips: Iterable[Clip], drops: Iterable[Drop], masks: Iterable[Mask]
    ) -> None:
        """Take in one commit."""
        files = list(files)
        void = {(file.input, file.path) for file in files if file.replaced}
        if void:
            self.drops = [drop for drop in self.drops if (drop.input, drop.path) not in void]
        self.files.update({(file.input, file.path): file for file in files})
        self.clips.extend(clips)
        self.drops.extend(drops)
        self.masks.update({mask.mask_id: mask for mask in masks})
        self.commits += 1


class Journal:
    """The open journal of one output folder; nobody else can open it meanwhile. Use as a context manager.

    Attributes:
        state: everything committed so far.
        created: whether the corpus was begun by this run.
    """

    def __init__(self, out: Path, settings: CurationSettings, salt_mark: str = "") -> None:
        self.out = out
        self.root = out / "journal"
        self.work = self.root / "work"
        self.state = State()
        self.created = not (self.root / "settings.json").exists()
        self._settings = settings
        self._salt_mark = salt_mark  # see identity.Names
        if self.created:
            _refuse_foreign(out)
        try:
            self.work.mkdir(parents=True, exist_ok=True)
            (out / SHARD_FOLDER).mkdir(exist_ok=True)
            self._lock = (self.root / "lock").open("w")
        except OSError as error:
            raise UserError(f"cannot write to the output folder {str(out)!r}: {error.strerror}") from error

    def __enter__(self) -> "Journal":
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel frees it whatever way we end
        except BlockingIOError as error:
            self._lock.close()
            raise UserError(f"another curation is writing to {str(self.out)!r}: wait for it to end") from error
        try:
            self._check_settings()
            self._load()
            self._clean()
        except BaseException:
            self._lock.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def commit(self, units: list[Path], files: list[FileRecord], drops: list[Drop]) -> None:
        """Move the frames of finished units into new shards and record them, with further file and drop rows."""
        staged = [(folder, load_unit(folder)) for folder in units]
        clips = self._write_shards(staged)
        files = [*(file for _, unit in staged for file in unit.files), *files]
        drops = [*(drop for _, unit in staged for drop in unit.drops), *drops]
        masks = [mask for unit in units for mask in staged_masks(unit)]
        folder = self.root / f"{self.state.commits:05d}"
        temporary = folder.with_suffix(".tmp")
        temporary.mkdir()
        write_rows(clips, CLIP_SCHEMA, temporary / "clips.parquet")
        write_rows(drops, DROP_SCHEMA, temporary / "drops.parquet")
        write_rows(files, FILE_SCHEMA, temporary / "files.parquet")
        write_rows(masks, MASK_SCHEMA, temporary / MASKS_FILE)
        temporary.rename(folder)
        self.state.add(files, clips, drops, masks)
        for unit in units:
            shutil.rmtree(unit)

    def discard(self, folder: Path) -> None:
        """Remove the frames of a finished unit whose files have changed since."""
        shutil.rmtree(folder)

    def remove(self) -> None:
        """Take back a corpus that was begun by this run and holds nothing."""
        shutil.rmtree(self.root)
        for folder in (self.out / SHARD_FOLDER, self.out):
            if not any(folder.iterdir()):
                folder.rmdir()

    def _write_shards(self, staged: list[tuple[Path, Any]]) -> list[Clip]:
        """Write all clips into as few shards of about equal size as the target size asks for."""
        todo = [(folder, clip) for folder, unit in staged for clip in unit.clips]
        total = sum(unit.num_bytes for _, unit in staged)
        target = total / max(1, round(total / (self._settings.shard_megabytes * 1e6)))
        number = len({clip.shard for clip in self.state.clips})
        done: list[Clip] = []
        while todo:
            name = shard_name(number)
            with open_shard(self.out / SHARD_FOLDER / name, self._settings.row_group_frames) as shard:
                while todo and shard.num_bytes < target:
                    folder, item = todo.pop(0)
                    clip = item.clip
                    rows = (
                        {
                            "image": image,
                            "clip_id": clip.clip_id,
                            "video_id": clip.video_id,
                            "case_id": clip.case_id,
                            "frame_index": frame.frame_index,
                            "timestamp": frame.timestamp,
                            "width": clip.width,
                            "height": clip.height,
                            "phash": frame.phash,
                            "luma": frame.luma,
                            "sharpness": frame.sharpness,
                        }
                        for image, frame in zip(staged_images(folder, item), item.frames, strict=True)
                    )
                    done.append(replace(clip, shard=name, shard_row=shard.add(rows, clip.num_frames)))
            number += 1
        return done

    def _check_settings(self) -> None:
        """Write the settings of a new corpus, or refuse to add to one that was made with others."""
        path = self.root / "settings.json"
        now = json.loads(json.dumps(fixed_settings(self._settings)))  # tuples become lists, as they are on disk
        if self._salt_mark:
            now["salt"] = self._salt_mark
        if self.created:
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(now, indent=1), encoding="utf-8")
            return
        before = json.loads(path.read_text(encoding="utf-8"))
        changed = [
            f"{key}={before.get(key)!r} there, {now.get(key)!r} now"
            for key in sorted(before.keys() | now.keys())
            if before.get(key) != now.get(key)
        ]
        if changed:
            raise UserError(
                f"the corpus {str(self.out)!r} was made with other settings ({'; '.join(changed)}): use the same "
                "settings, or another OUT"
            )

    def _load(self) -> None:
        for folder in sorted(path for path in self.root.iterdir() if re.fullmatch(r"\d{5,}", path.name)):
            files = [FileRecord(**row) for row in pq.read_table(folder / "files.parquet").to_pylist()]
            clips, drops = read_clips(folder / "clips.parquet"), read_drops(folder / "drops.parquet")
            self.state.add(files, clips, drops, read_masks(folder / MASKS_FILE))

    def _clean(self) -> None:
        """Remove what a kill left behind: uncommitted shards and half-written folders."""
        known = {clip.shard for clip in self.state.clips}
        for path in (self.out / SHARD_FOLDER).iterdir():
            if re.fullmatch(r"shard-\d+\.parquet(\.tmp)?", path.name) and path.name not in known:
                path.unlink()
        for folder in [*self.root.glob("*.tmp"), *self.work.glob("*.tmp")]:
            if folder.is_dir():
                shutil.rmtree(folder)
            else:
                folder.unlink()


def _refuse_foreign(out: Path) -> None:
    """Raise `UserError` when OUT exists and is not an empty folder (or one whose first run was killed at once)."""
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError(f"output {str(out)!r} is a file: give a folder that is new, empty, or a corpus")
    ours = {"journal", SHARD_FOLDER}
    foreign = sorted(path.name for path in out.iterdir() if not path.name.startswith(".") and path.name not in ours)
    if (out / SHARD_FOLDER).is_dir() and any((out / SHARD_FOLDER).iterdir()):
        foreign.append(SHARD_FOLDER)
    if foreign:
        raise UserError(
            f"output folder {str(out)!r} holds other files ({', '.join(foreign[:3])}): give a folder that is new, "
            "empty, or a corpus made by this command"
        )

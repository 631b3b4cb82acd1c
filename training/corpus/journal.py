"""The journal: what a corpus holds, committed shard by shard, so that curation can be killed at any moment.

    OUT/journal/settings.json        the settings that must not change; its presence says that OUT is a corpus
    OUT/journal/00000/               one folder per commit: clips.parquet, drops.parquet, files.parquet, and
                                     masks.parquet, drop_examples.parquet for the report
    OUT/journal/balance.json         how clips are weighed, if not by default (see `rebalance`)
    OUT/journal/work/<unit key>/     finished units whose frames are not in a shard yet (see `staged.py`)

A commit writes its shards, then its folder under a temporary name, then renames the folder: that rename is the moment
from which the shards count. Shards that no commit names are left-overs of a kill and are removed on the next start.
The tables beside it (manifest, masks, drops) and `curation.json` are derived from the journal at the end of every run.
"""

import fcntl
import json
import os
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from training.corpus.atomic import replacing
from training.corpus.drop_examples import DROP_EXAMPLES_FILE, EXAMPLE_SCHEMA, DropExample
from training.corpus.manifest import (
    CLIP_SCHEMA,
    CURATION_FILE,
    DROP_SCHEMA,
    DROPS_FILE,
    MANIFEST_FILE,
    SHARD_FOLDER,
    Clip,
    Drop,
    write_rows,
)
from training.corpus.masks import MASK_SCHEMA, MASKS_FILE, Mask
from training.corpus.segments import DUPLICATES_FILE
from training.corpus.settings import CurationSettings, fixed_settings
from training.corpus.shards import open_shard, shard_name, shard_number
from training.corpus.staged import FileRecord, load_unit, staged_images, staged_masks
from training.corpus.state import (
    CLIPS_FILE,
    FILES_FILE,
    SETTINGS_FILE,
    State,
    commit_folders,
    kept_settings,
    read_state,
)
from training.corpus.withdrawn import (
    EMBEDDINGS,
    REMOVALS_FILE,
    REPORT_FILE,
    remove_traces,
    thin_out,
    write_removals,
)
from training.errors import UserError

LOCK_FILE = "lock"  # in the journal
# Beside the shards, whoever writes them.
TABLES = (MANIFEST_FILE, MASKS_FILE, DROPS_FILE, DUPLICATES_FILE, CURATION_FILE, REMOVALS_FILE, REPORT_FILE)
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
        ("video_id", pa.string()),
        ("case_id", pa.string()),
        ("frames_sampled", pa.int64()),
        ("frames_kept", pa.int64()),
        ("replaced", pa.bool_()),
        ("overlay", pa.string()),
        ("deinterlaced", pa.bool_()),
        ("time_error_mean", pa.float64()),
        ("time_error_max", pa.float64()),
    ]
)


class Journal:
    """The open journal of one output folder; nobody else can open it meanwhile. Use as a context manager.

    Attributes:
        state: everything committed so far.
        created: whether the corpus was begun by this run; known once the journal is open.
    """

    def __init__(self, out: Path, settings: CurationSettings, salt_mark: str = "") -> None:
        self.out = out
        self.root = out / "journal"
        self.work = self.root / "work"
        self.state = State()
        self.created = False
        self._settings = settings
        self._salt_mark = salt_mark  # see identity.Names
        self._examples: Counter[str] | None = None  # of dropped frames, by reason
        if not (self.root / SETTINGS_FILE).exists():
            _refuse_foreign(out)
        try:
            self.work.mkdir(parents=True, exist_ok=True)
            (out / SHARD_FOLDER).mkdir(exist_ok=True)
            self._lock = (self.root / LOCK_FILE).open("w")
        except OSError as error:
            raise UserError(f"cannot write to the output folder {str(out)!r}: {error.strerror}") from error

    def __enter__(self) -> "Journal":
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel frees it whatever way we end
        except BlockingIOError as error:
            self._lock.close()
            raise UserError(f"another curation is writing to {str(self.out)!r}: wait for it to end") from error
        try:
            self._check_lock()
            self._check_settings()
            self.state = read_state(self.root)
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
        _write_tables(temporary, files, clips, drops, masks)
        self._write_examples(units, temporary / DROP_EXAMPLES_FILE)
        temporary.rename(folder)
        self.state.add(files, clips, drops, masks)
        for unit in units:
            self.discard(unit)

    def commit_removal(self, state: State, write_shards: Callable[[Path], None]) -> None:
        """Let `state` take the place of everything committed so far.

        The moment from which it counts is a rename, as for every commit; then the new shards take their places. Until
        that is done the corpus has no curation.json, so nobody reads a mixture, and every start of a run ends it first.

        Args:
            state: what remains, with the record of the removal last in `removals`.
            write_shards: writes the shards that have new content into a folder, under their names.
        """
        folder = self.root / f"{self.state.commits:05d}"
        temporary = folder.with_suffix(".tmp")
        (temporary / SHARD_FOLDER).mkdir(parents=True)
        try:
            write_shards(temporary / SHARD_FOLDER)
            _write_tables(temporary, state.files.values(), state.clips, state.drops, state.masks.values())
            gone = {(file.input, file.path) for file in state.removals[-1].files}
            examples = [commit / DROP_EXAMPLES_FILE for commit in commit_folders(self.root)]
            thin_out(examples, temporary / DROP_EXAMPLES_FILE, lambda row: (row["input"], row["path"]) not in gone)
            for place in (self.root, self.out):  # in the journal after a kill, see `publication.publish`
                if (place / CURATION_FILE).is_file():
                    shutil.copyfile(place / CURATION_FILE, temporary / CURATION_FILE)
            write_removals(state.removals, temporary / REMOVALS_FILE)
        except BaseException:
            shutil.rmtree(temporary)
            raise
        temporary.rename(folder)
        self.state = read_state(self.root)
        self._examples = None
        self._finish_removal()

    def _finish_removal(self) -> None:
        """Put the new shards of the last removal in place and remove what it replaces; nothing if that is done."""
        folders = commit_folders(self.root)
        removals = [number for number, folder in enumerate(folders) if (folder / REMOVALS_FILE).exists()]
        if not removals:
            return
        waiting = folders[removals[-1]] / SHARD_FOLDER
        if waiting.exists():
            (self.out / CURATION_FILE).unlink(missing_ok=True)
            for shard in sorted(waiting.iterdir()):
                shard.replace(self.out / SHARD_FOLDER / shard.name)
            known = {clip.shard for clip in self.state.clips}
            for name in {shard.name for shard in self.state.removals[-1].shards} - known:
                (self.out / SHARD_FOLDER / name).unlink(missing_ok=True)
            remove_traces(self.out, self.state.removals[-1], {clip.clip_id for clip in self.state.clips})
            waiting.rmdir()
        for folder in folders[: removals[-1]]:
            self.discard(folder)

    def discard(self, folder: Path) -> None:
        """Remove a folder of the journal. First of all it gets a name under which it is no unit and no commit.

        So half of it never looks like a whole one, also when a worker of a killed run is still about to finish it.
        """
        doomed = folder.with_name(f"{folder.name[:64]}.{secrets.token_hex(4)}.tmp")
        folder.rename(doomed)
        shutil.rmtree(doomed)

    def remove(self) -> None:
        """Take back a corpus that was begun by this run and holds nothing."""
        shutil.rmtree(self.root)
        for folder in (self.out / SHARD_FOLDER, self.out):
            if not any(folder.iterdir()):
                folder.rmdir()

    def _write_examples(self, units: list[Path], path: Path) -> None:
        """Collect the examples of dropped frames, as long as a reason has not enough of them."""
        if self._examples is None:
            self._examples = Counter()
            for earlier in self.root.glob(f"*/{DROP_EXAMPLES_FILE}"):
                self._examples.update(pq.read_table(earlier, columns=["reason"])["reason"].to_pylist())
        held, rows = self._examples, []
        for unit in units:
            staged = unit / DROP_EXAMPLES_FILE
            for row in pq.read_table(staged).to_pylist() if staged.is_file() else []:
                if held[row["reason"]] < self._settings.drop_examples.per_reason_in_all:
                    held[row["reason"]] += 1
                    rows.append(DropExample(**row))
        write_rows(rows, EXAMPLE_SCHEMA, path)

    def _write_shards(self, staged: list[tuple[Path, Any]]) -> list[Clip]:
        """Write all clips into as few shards of about equal size as the target size asks for."""
        todo = [(folder, clip) for folder, unit in staged for clip in unit.clips]
        numbers = _next_clips(self.state.clips)
        total = sum(unit.num_bytes for _, unit in staged)
        target = total / max(1, round(total / (self._settings.shard_megabytes * 1e6)))
        number = _next_shard(self.state.clips)
        done: list[Clip] = []
        while todo:
            name = shard_name(number)
            with open_shard(self.out / SHARD_FOLDER / name, self._settings.row_group_frames) as shard:
                while todo and shard.num_bytes < target:
                    folder, item = todo.pop(0)
                    video = item.clip.video_id
                    clip = replace(item.clip, clip_id=f"{video}-{numbers[video]:06d}")
                    numbers[video] += 1
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

    def _check_lock(self) -> None:
        """Raise `UserError` when the folder was taken back after the file of the lock had been opened in it."""
        try:
            is_there = os.path.samestat(os.fstat(self._lock.fileno()), (self.root / LOCK_FILE).stat())
        except FileNotFoundError:
            is_there = False
        if not is_there:
            raise UserError(
                f"another curation has just removed {str(self.out)!r}, as it had found no usable frame: run the same "
                "command again"
            )

    def _check_settings(self) -> None:
        """Write the settings of a new corpus, or refuse to add to one that was made with others."""
        path = self.root / SETTINGS_FILE
        self.created = not path.exists()  # asked for under the lock: another run may have begun it meanwhile
        now = json.loads(json.dumps(fixed_settings(self._settings)))  # tuples become lists, as they are on disk
        if self._salt_mark:
            now["salt"] = self._salt_mark
        if self.created:
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(now, indent=1), encoding="utf-8")
            return
        before = kept_settings(self.out)
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

    def _clean(self) -> None:
        """Remove what a kill left: uncommitted shards, half-written folders and files; end an interrupted removal."""
        self._finish_removal()
        if (self.out / CURATION_FILE).is_file():
            (self.root / CURATION_FILE).unlink(missing_ok=True)  # the earlier one, see `publication.publish`
        known = {clip.shard for clip in self.state.clips}
        for path in (self.out / SHARD_FOLDER).iterdir():
            if re.fullmatch(r"shard-\d+\.parquet(\.tmp)?", path.name) and path.name not in known:
                path.unlink()
        half = [path for path in self.out.glob("*.tmp") if path.name.removesuffix(".tmp") in TABLES]
        for pattern in ("*.tmp", "*/*.tmp", f"{EMBEDDINGS}/*/*.tmp"):
            half += self.root.glob(pattern)
        for path in half:
            if path.is_dir():
                self.discard(path)
            else:
                path.unlink(missing_ok=True)  # its folder may have been one


def _write_tables(
    folder: Path, files: Iterable[FileRecord], clips: Iterable[Clip], drops: Iterable[Drop], masks: Iterable[Mask]
) -> None:
    write_rows(clips, CLIP_SCHEMA, folder / CLIPS_FILE)
    write_rows(drops, DROP_SCHEMA, folder / DROPS_FILE)
    write_rows(files, FILE_SCHEMA, folder / FILES_FILE)
    write_rows(masks, MASK_SCHEMA, folder / MASKS_FILE)


def _next_clips(clips: Iterable[Clip]) -> Counter[str]:
    """Per video the number of its next clip. Not a count: clips before it may have been removed."""
    numbers: Counter[str] = Counter()
    for clip in clips:
        numbers[clip.video_id] = max(numbers[clip.video_id], int(clip.clip_id.rpartition("-")[2]) + 1)
    return numbers


def _next_shard(clips: Iterable[Clip]) -> int:
    return max((shard_number(clip.shard) + 1 for clip in clips), default=0)


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

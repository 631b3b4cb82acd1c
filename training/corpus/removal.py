"""Removing a case from a corpus, as when consent is withdrawn: the shards that hold it are rewritten, no others.

The journal commits what remains in one rename (see `Journal.commit_removal`). Killed before it, nothing has happened;
killed after it, the same command, or any curation into the corpus, brings the removal to its end.
"""

import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from training.corpus.frames import file_sha256
from training.corpus.identity import private_folder
from training.corpus.inputs import staging_folder
from training.corpus.journal import Journal
from training.corpus.manifest import CURATION_FILE, SHARD_FOLDER, Clip
from training.corpus.private_names import read_names
from training.corpus.publication import publish, read_record
from training.corpus.settings import CurationSettings
from training.corpus.shards import open_shard
from training.corpus.staged import load_unit
from training.corpus.state import State, read_settings, read_state
from training.corpus.withdrawn import Removal, RemovedFile, RewrittenShard
from training.errors import UserError, full_disk_error
from training.registry import unknown_name


@dataclass(frozen=True)
class Removed:
    """What a removal did, or would do."""

    removal: Removal  # of a dry run: without the digests of the shards
    again: bool  # the case had been removed before
    alike: list[str]  # other cases that hold a file with the same content


def remove_case(out: Path, case: str, *, private: str = "", dry_run: bool = False) -> Removed:
    """Remove every frame and row of a case from the corpus `out`, and record that; see the module.

    Args:
        out: folder of the corpus.
        case: case_id in the corpus, or the true one if its names are hashed and the private folder is there.
        private: that folder, if not OUT.private.
        dry_run: only say what would be done; nothing is written.

    Raises:
        UserError: no corpus, no such case, the only case, a shard that does not fit the journal, a corpus in use, or
            no space left.
    """
    settings, mark = read_settings(out)
    if dry_run:
        state = read_state(out / "journal")
        case_id = _find(state, case, out, private)
        earlier = _earlier(state, case_id)
        return Removed(earlier or _record(state, case_id, []), earlier is not None, _alike(state, case_id))
    no_space = (
        f"no space left to rewrite shards of {str(out)!r}: free as much as its largest shards take and run the same "
        "command again"
    )
    with full_disk_error(no_space), Journal(out, settings, mark) as journal:
        case_id = _find(journal.state, case, out, private)
        _discard_work(journal, case_id)
        shutil.rmtree(staging_folder(out), ignore_errors=True)  # of a killed run: it may hold the case's videos
        earlier = _earlier(journal.state, case_id)
        alike = _alike(journal.state, case_id)
        if earlier is None:
            _remove(journal, case_id, settings)
        publish(journal.state, out, settings, force=earlier is None, like=_published_before(journal))
        return Removed(earlier or journal.state.removals[-1], earlier is not None, alike)


def _find(state: State, case: str, out: Path, private: str) -> str:
    """The case_id in the corpus. Raises `UserError` when there is no such case, or no other one."""
    cases = {clip.case_id for clip in state.clips} | {file.case_id for file in state.files.values()} - {""}
    removed = {removal.case_id for removal in state.removals}
    folder = private_folder(out, CurationSettings(private=private))
    true_names = {row.true_case_id: row.case_id for row in read_names(folder) if row.case_id in cases | removed}
    case_id = true_names.get(case, case)
    if case_id not in cases | removed:
        raise unknown_name("case", case, cases | true_names.keys())
    if case_id in cases and not any(clip.case_id != case_id for clip in state.clips):
        raise UserError(f"case {case!r} is the only one with frames in {str(out)!r}: delete the whole folder instead")
    return case_id


def _earlier(state: State, case_id: str) -> Removal | None:
    found = [removal for removal in state.removals if removal.case_id == case_id]
    return found[-1] if found else None


def _alike(state: State, case_id: str) -> list[str]:
    digests = {file.sha256 for file in state.files.values() if file.case_id == case_id} - {""}
    cases = {file.case_id for file in state.files.values() if file.sha256 in digests}
    return sorted(cases - {case_id, ""})


def _record(state: State, case_id: str, shards: list[RewrittenShard]) -> Removal:
    """The record of a removal; `shards` is empty as long as none has been rewritten."""
    clips = [clip for clip in state.clips if clip.case_id == case_id]
    files = [file for file in state.files.values() if file.case_id == case_id]
    return Removal(
        case_id=case_id,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        clips=len(clips),
        frames=sum(clip.num_frames for clip in clips),
        shards=tuple(shards or [RewrittenShard(name, "", "") for name in sorted({clip.shard for clip in clips})]),
        files=tuple(RemovedFile(file.input, file.path, file.size, file.sha256) for file in files),
    )


def _discard_work(journal: Journal, case_id: str) -> None:
    """Remove finished units of the case that wait for their shard since an interrupted run."""
    for folder in journal.work.iterdir():
        if any(file.case_id == case_id for file in load_unit(folder).files):
            journal.discard(folder)


def _remove(journal: Journal, case_id: str, settings: CurationSettings) -> None:
    state = journal.state
    removal = _record(state, case_id, [])
    gone = {(file.input, file.path) for file in removal.files}
    used = {clip.mask for clip in state.clips if clip.case_id != case_id}
    by_shard: dict[str, list[Clip]] = defaultdict(list)
    for clip in state.clips:
        by_shard[clip.shard].append(clip)
    moved: dict[str, int] = {}  # clip_id -> its new first row
    for shard in removal.shards:
        row = 0
        for clip in sorted(by_shard[shard.name], key=lambda clip: clip.shard_row):
            if clip.case_id != case_id:
                moved[clip.clip_id] = row
                row += clip.num_frames
    left = State(
        files={key: file for key, file in state.files.items() if key not in gone},
        clips=[
            replace(clip, shard_row=moved.get(clip.clip_id, clip.shard_row))
            for clip in state.clips
            if clip.case_id != case_id
        ],
        drops=[drop for drop in state.drops if (drop.input, drop.path) not in gone],
        masks={mask_id: mask for mask_id, mask in state.masks.items() if mask_id in used},
    )

    def write_shards(folder: Path) -> None:
        done = []
        for shard in removal.shards:
            source = journal.out / SHARD_FOLDER / shard.name
            kept = [clip for clip in by_shard[shard.name] if clip.case_id != case_id]
            kept.sort(key=lambda clip: clip.shard_row)
            if kept:
                _rewrite(source, kept, folder / shard.name, settings.row_group_frames)
            after = file_sha256(folder / shard.name) if kept else ""
            done.append(RewrittenShard(shard.name, file_sha256(source), after))
        left.removals = [*state.removals, _record(state, case_id, done)]

    left.removals = [*state.removals, removal]
    journal.commit_removal(left, write_shards)


def _rewrite(source: Path, kept: list[Clip], target: Path, row_group_frames: int) -> None:
    """Write the kept clips of a shard, in their order, as the journal would write them anew."""
    rows = _rows(source)
    number, row = 0, next(rows, None)
    with open_shard(target, row_group_frames) as shard:
        for clip in kept:
            frames: list[dict[str, Any]] = []
            while row is not None and number < clip.shard_row + clip.num_frames:
                if number >= clip.shard_row:
                    frames.append({**row, "image": row["image"]["bytes"]})
                number, row = number + 1, next(rows, None)
            if [frame["clip_id"] for frame in frames] != [clip.clip_id] * clip.num_frames:
                raise UserError(
                    f"{str(source)!r} does not hold clip {clip.clip_id!r} at rows {clip.shard_row} to "
                    f"{clip.shard_row + clip.num_frames - 1}, as the journal says: restore the file"
                )
            shard.add(frames, clip.num_frames)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a shard, one row group in memory."""
    if not path.is_file():
        raise UserError(f"{str(path)!r} is missing: restore the file")
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            yield from file.read_row_group(group).to_pylist()


def _published_before(journal: Journal) -> dict[str, Any] | None:
    """What curation.json said before the last removal; `None` when the corpus had none, or a damaged one."""
    copies = sorted(journal.root.glob(f"*/{CURATION_FILE}"), key=lambda path: int(path.parent.name))
    return read_record(copies[-1]) if copies else None

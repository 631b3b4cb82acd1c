"""The tables beside the shards, and curation.json: derived from the journal after every change."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa

from training.config import to_plain
from training.corpus.atomic import replacing
from training.corpus.balance import with_weights
from training.corpus.duplicates.seen import apply_seen
from training.corpus.duplicates.table import read_summary
from training.corpus.manifest import (
    CLIP_SCHEMA,
    CURATION_FILE,
    DROP_SCHEMA,
    DROPS_FILE,
    MANIFEST_FILE,
    SCHEMA_VERSION,
    Clip,
    fingerprint,
    read_clips,
    read_drops,
    write_rows,
)
from training.corpus.masks import MASK_SCHEMA, MASKS_FILE
from training.corpus.overlaps import overlap_report
from training.corpus.rebalance import count_left_out, settle_balance
from training.corpus.settings import CurationSettings, recorded_settings
from training.corpus.splits import resolve_splits
from training.corpus.staged import FileRecord
from training.corpus.state import State
from training.corpus.withdrawn import REMOVALS_FILE, write_removals
from training.errors import UserError

PACKAGES = ("zen-surgical", "av", "decord", "numpy", "opencv-python-headless", "pillow", "pyarrow")


def publish(
    state: State, out: Path, settings: CurationSettings, *, force: bool, like: dict[str, Any] | None = None
) -> tuple[dict[str, Any], str]:
    """Derive the tables beside the shards and curation.json from the journal.

    Args:
        state: of the journal.
        out: folder of the corpus.
        settings: of the run.
        force: also when they hold all of this already, to record the settings and package versions of a new run.
        like: an earlier curation.json whose settings and package versions still say how the frames were made.

    Returns:
        The counts of the corpus and its fingerprint.

    Raises:
        UserError: the manifest that is there, which says on which side of the split a case is, cannot be read; or
            duplicates.parquet cannot.
    """
    previous = _published_splits(out / MANIFEST_FILE)
    words: dict[str, set[str]] = defaultdict(set)
    for clip in state.clips:
        words[clip.case_id].add(clip.split)
    splits = resolve_splits(words, previous, settings.held_out_fraction)
    settings = replace(settings, balance=settle_balance(out, settings.balance))
    clips, drops = apply_seen(out, state.clips, state.drops)
    state = replace(state, drops=drops)
    clips = [replace(clip, split=splits[clip.case_id]) for clip in clips]
    clips = with_weights(clips, count_left_out(out, clips), settings.balance)
    print_ = fingerprint(clips)
    counts = count(clips, state)
    record = {
        "schema_version": SCHEMA_VERSION,
        "code": like["code"] if like else {name: _version(name) for name in PACKAGES},
        "inputs": sorted({key[0] for key in state.files}),
        "settings": {
            **(like["settings"] if like else recorded_settings(settings)),
            "balance": to_plain(settings.balance),
        },
        "counts": counts,
        "overlaps": overlap_report(clips),
        "duplicates": read_summary(out),
        "fingerprint": print_,
    }
    if force or not _is_published(out, record, state):
        kept = out / "journal" / CURATION_FILE  # so that the same command can go on after a kill
        if like and (out / CURATION_FILE).is_file():
            (out / CURATION_FILE).replace(kept)
        (out / CURATION_FILE).unlink(missing_ok=True)  # until it is back, the corpus counts as incomplete
        write_rows(state.masks.values(), MASK_SCHEMA, out / MASKS_FILE)
        write_rows(clips, CLIP_SCHEMA, out / MANIFEST_FILE)
        write_rows(state.drops, DROP_SCHEMA, out / DROPS_FILE)
        if state.removals:
            write_removals([replace(removal, files=()) for removal in state.removals], out / REMOVALS_FILE)
        with replacing(out / CURATION_FILE) as temporary:
            temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")
        kept.unlink(missing_ok=True)
    return counts, print_


def _published_splits(manifest: Path) -> dict[str, str]:
    """case_id -> split in the manifest that is there; empty when there is none."""
    if not manifest.is_file():
        return {}
    try:
        return {clip.case_id: clip.split for clip in read_clips(manifest)}
    except (OSError, KeyError, pa.ArrowException) as error:
        raise UserError(
            f"{str(manifest)!r} cannot be read ({type(error).__name__}), and it says which cases are held out: restore "
            "it, or remove it to have them drawn anew"
        ) from error


def _is_published(out: Path, record: dict[str, Any], state: State) -> bool:
    """Whether the tables and curation.json hold everything: a run that was killed may have committed what they lack."""
    names = [MANIFEST_FILE, MASKS_FILE, DROPS_FILE, CURATION_FILE, *([REMOVALS_FILE] if state.removals else [])]
    if not all((out / name).is_file() for name in names):
        return False
    recorded = read_record(out / CURATION_FILE) or {}
    if any(recorded.get(name) != record[name] for name in record if name not in ("code", "settings")):
        return False
    try:
        return read_drops(out / DROPS_FILE) == state.drops
    except (OSError, TypeError, pa.ArrowException):  # damaged, so it has to be written anew
        return False


def read_record(path: Path) -> dict[str, Any] | None:
    """What a curation.json says; `None` when it is missing or damaged, and has to be written anew."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    is_whole = isinstance(record, dict) and record.keys() >= {"code", "settings", "counts", "fingerprint"}
    return record if is_whole else None


def last_record(out: Path) -> dict[str, Any] | None:
    """The curation.json of a corpus, or the one that a killed command was about to replace without curating."""
    return read_record(out / CURATION_FILE) or read_record(out / "journal" / CURATION_FILE)


def recorded_fingerprint(out: Path) -> str:
    """The fingerprint in curation.json; "" when that is missing or damaged."""
    record = read_record(out / CURATION_FILE)
    return str(record["fingerprint"]) if record else ""


def count(clips: Sequence[Clip], state: State) -> dict[str, Any]:
    """The numbers of a corpus, for curation.json and the summary."""
    dropped: dict[str, dict[str, int]] = {}
    for drop in state.drops:
        entry = dropped.setdefault(drop.reason, {"rows": 0, "frames": 0})
        entry["rows"] += 1
        entry["frames"] += drop.num_frames
    splits = {}
    for split in ("train", "held_out"):
        mine = [clip for clip in clips if clip.split == split]
        splits[split] = {
            "cases": len({clip.case_id for clip in mine}),
            "videos": len({clip.video_id for clip in mine}),
            "clips": len(mine),
            "frames": sum(clip.num_frames for clip in mine),
        }
    return {
        "files": len(state.files),
        "frames_sampled": sum(file.frames_sampled for file in state.files.values()),
        "frames_kept": sum(clip.num_frames for clip in clips),
        "clips": len(clips),
        "cases": len({clip.case_id for clip in clips}),
        "shards": len({clip.shard for clip in clips}),
        "masks": len(state.masks),
        # Files by what the search for overlays came to, see overlay.Overlay.
        "overlay": dict(sorted(Counter(file.overlay for file in state.files.values() if file.overlay).items())),
        "decoding": _decoding_counts(list(state.files.values())),
        "splits": splits,
        "dropped": dict(sorted(dropped.items())),
    }


def _decoding_counts(files: list[FileRecord]) -> dict[str, Any]:
    """How the videos were sampled: seconds between the sampling times and the frames that stand for them."""
    means = [file.time_error_mean for file in files if file.time_error_mean is not None]
    maxima = [file.time_error_max for file in files if file.time_error_max is not None]
    return {
        "videos": len(means),
        "deinterlaced": sum(file.deinterlaced for file in files),
        "time_error_mean": round(sum(means) / len(means), 6) if means else 0.0,
        "time_error_max": round(max(maxima, default=0.0), 6),
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"

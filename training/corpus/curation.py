"""Curation from input folders to a corpus: what is new is curated unit by unit, the rest is left as it is."""

import errno
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from tqdm import tqdm

from training.corpus.atomic import replacing
from training.corpus.decoder_process import DecoderProcess
from training.corpus.decoding import check_reader
from training.corpus.frames import file_sha256
from training.corpus.identity import Names, open_names
from training.corpus.inputs import Inputs, open_inputs
from training.corpus.journal import Journal, State
from training.corpus.manifest import (
    CLIP_SCHEMA,
    CURATION_FILE,
    DROP_SCHEMA,
    DROPS_FILE,
    MANIFEST_FILE,
    SCHEMA_VERSION,
    Clip,
    Drop,
    fingerprint,
    read_clips,
    write_rows,
)
from training.corpus.masks import MASK_SCHEMA, MASKS_FILE
from training.corpus.settings import LABELS, CurationSettings, recorded_settings
from training.corpus.sources import Scan, SourceFile, Unit, group
from training.corpus.splits import resolve_splits
from training.corpus.unit import FileRecord, curate_unit, file_record, load_unit
from training.errors import UserError

PACKAGES = ("zen-surgical", "decord", "numpy", "opencv-python-headless", "pillow", "pyarrow")


@dataclass(frozen=True)
class Plan:
    """What a run has to do with a piece of its inputs, under the names that the corpus shows."""

    units: list[Unit]
    replaced: set[tuple[str, str]]  # keys of files with new content, of which nothing was kept before
    records: list[FileRecord]  # files that need no decoding: rejected by name, or touched without a change
    drops: list[Drop]

    @property
    def nothing_new(self) -> bool:
        """Whether the corpus holds everything already."""
        return not (self.units or self.records)


@dataclass(frozen=True)
class Outcome:
    """What a run did: `counts` are those of the whole corpus, as in curation.json."""

    counts: dict[str, Any]
    fingerprint: str
    nothing_new: bool
    new_frames: int  # sampled in this run
    resumed_units: int  # finished by an earlier, interrupted run
    seconds: float
    gone: int


@dataclass
class _Work:
    """What was done so far in a run."""

    sampled: int = 0  # frames
    resumed: int = 0  # units
    nothing_new: bool = True


def curate(inputs: Sequence[Path | str], out: Path, settings: CurationSettings) -> Outcome:
    """Curate everything below `inputs` into the corpus folder `out`, which may hold an earlier run's corpus.

    An input is a folder, a file, a source manifest (see `source_manifest`) or the address of a dataset (`hub_source`).

    Files that the corpus knows (same name, size and time, or same SHA-256) are left alone. Rows of files that have
    vanished from the inputs stay: their frames are in the shards. A kill at any moment loses at most the unit in work.

    Raises:
        UserError: missing or overlapping inputs, an output folder with other content or made with other settings, a
            kept file whose content changed, or no usable frame at all. Nothing is overwritten then.
    """
    start = time.monotonic()
    opened = open_inputs(inputs, out, settings)
    if opened.hopeless and not (out / "journal").exists():
        raise _no_frames(inputs, Counter(drop.reason for _, drop in opened.found.rejected))
    if opened.may_hold_videos:
        check_reader(settings.decoding.reader)
    try:
        with open_names(out, settings) as names, Journal(out, settings, names.mark) as journal:
            gone = _count_gone(opened.found, journal.state, names)
            work = _work_off(_plans(opened, journal.state, settings, names), journal, settings)
            if not journal.state.clips:
                reasons = Counter(drop.reason for drop in journal.state.drops)
                if journal.created:
                    journal.remove()
                raise _no_frames(inputs, reasons)
            counts, print_ = _publish(journal.state, out, settings, force=not work.nothing_new)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"no space left for the output folder {str(out)!r}: free some and run the same command again, it "
                "continues where it stopped"
            ) from error
        raise
    seconds = time.monotonic() - start
    return Outcome(counts, print_, work.nothing_new, work.sampled, work.resumed, seconds, gone)


def _plans(inputs: Inputs, state: State, settings: CurationSettings, names: Names) -> Iterator[Plan]:
    """One plan for everything on this machine, then one for each piece that is fetched or streamed."""

    def known(file: SourceFile) -> bool:
        record = state.files.get(names.file(file).key)
        return record is not None and record.sha256 != ""

    for piece in inputs.scans(known):
        yield make_plan(piece, state, settings, names)


def make_plan(found: Scan, state: State, settings: CurationSettings, names: Names) -> Plan:
    """Compare what was found with what the corpus holds, and note the true names of what is new.

    Raises:
        UserError: a file of which frames were kept has other content now, or is given other labels.
    """
    replaced: set[tuple[str, str]] = set()
    records: list[FileRecord] = []
    new: dict[str, list[SourceFile]] = {"videos": [], "stills": []}
    for kind, files in (("videos", found.videos), ("stills", found.stills)):
        for file in files:
            shown = names.file(file)
            known = state.files.get(shown.key)
            if known is None:
                new[kind].append(file)
                continue
            if known.frames_kept:
                _check_labels(shown, known, settings)
            if (known.size, known.mtime_ns) == (shown.size, shown.mtime_ns):
                continue
            if _same_content(file, known):
                records.append(replace(known, size=shown.size, mtime_ns=shown.mtime_ns, replaced=False))
            elif known.frames_kept:
                raise UserError(
                    f"{str(file.location)!r} is not the file that is in the corpus as {file.input}/{file.path} (other "
                    "SHA-256): restore it, rename it, or curate into another OUT"
                )
            else:
                replaced.add(shown.key)
                new[kind].append(file)
    fresh = [(file, drop) for file, drop in found.rejected if names.file(file).key not in state.files]
    records += [file_record(names.file(file), settings) for file, _ in fresh]
    units = group(new["videos"], new["stills"], settings)
    names.remember(units, [file for file, _ in fresh])
    drops = [names.drop(file, drop) for file, drop in fresh]
    return Plan(names.units(units), replaced, records, drops)


def _count_gone(found: Scan, state: State, names: Names) -> int:
    """Files of the corpus that are no longer in the inputs on this machine."""
    keys = {names.file(file).key for file in found.files()}
    inputs = {key[0] for key in keys}
    return sum(key[0] in inputs and key not in keys for key in state.files)


def _work_off(plans: Iterator[Plan], journal: Journal, settings: CurationSettings) -> _Work:
    """Curate the units of all plans and commit them shard by shard."""
    next_clip = Counter(clip.video_id for clip in journal.state.clips)
    pending: list[Path] = []
    pending_bytes = 0
    work = _Work()
    records: list[FileRecord] = []
    drops: list[Drop] = []
    with DecoderProcess(settings.decoding) as decoder, _Progress() as progress:
        for plan in plans:
            progress.add(plan.units)
            work.nothing_new = work.nothing_new and plan.nothing_new
            records += plan.records
            drops += plan.drops
            for unit in plan.units:
                folder = journal.work / unit.key
                first_clip = next_clip[unit.video_id]
                progress.begin(unit)
                if folder.exists() and load_unit(folder).starts_at(first_clip):
                    work.resumed += 1
                else:
                    if folder.exists():
                        journal.discard(folder)
                    curate_unit(
                        unit,
                        settings,
                        decoder,
                        folder,
                        first_clip=first_clip,
                        replaced=any(file.key in plan.replaced for file in unit.files),
                        advance=progress.advance,
                    )
                staged = load_unit(folder)
                pending.append(folder)
                pending_bytes += staged.num_bytes
                next_clip[unit.video_id] += len(staged.clips)
                work.sampled += sum(file.frames_sampled for file in staged.files)
                progress.end(unit)
                if pending_bytes >= settings.shard_megabytes * 1e6:
                    journal.commit(pending, [], [])
                    pending, pending_bytes = [], 0
        if not work.nothing_new:
            journal.commit(pending, records, drops)
    for folder in journal.work.iterdir():  # of files that have changed or vanished since an interrupted run
        journal.discard(folder)
    return work


def _publish(state: State, out: Path, settings: CurationSettings, *, force: bool) -> tuple[dict[str, Any], str]:
    """Derive manifest, drop report and curation.json from the journal; returns the counts and the fingerprint."""
    previous: dict[str, str] = {}
    if (out / MANIFEST_FILE).is_file():
        previous = {clip.case_id: clip.split for clip in read_clips(out / MANIFEST_FILE)}
    words: dict[str, set[str]] = defaultdict(set)
    for clip in state.clips:
        words[clip.case_id].add(clip.split)
    splits = resolve_splits(words, previous, settings.held_out_fraction)
    clips = [replace(clip, split=splits[clip.case_id]) for clip in state.clips]
    print_ = fingerprint(clips)
    counts = count(clips, state)
    whole = all((out / name).is_file() for name in (CURATION_FILE, MANIFEST_FILE, MASKS_FILE))
    if force or not whole:
        record = {
            "schema_version": SCHEMA_VERSION,
            "code": {name: _version(name) for name in PACKAGES},
            "inputs": sorted({key[0] for key in state.files}),
            "settings": recorded_settings(settings),
            "counts": counts,
            "fingerprint": print_,
        }
        (out / CURATION_FILE).unlink(missing_ok=True)  # until it is back, the corpus counts as incomplete
        write_rows(state.masks.values(), MASK_SCHEMA, out / MASKS_FILE)
        write_rows(clips, CLIP_SCHEMA, out / MANIFEST_FILE)
        write_rows(state.drops, DROP_SCHEMA, out / DROPS_FILE)
        with replacing(out / CURATION_FILE) as temporary:
            temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")
    return counts, print_


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
        "splits": splits,
        "dropped": dict(sorted(dropped.items())),
    }


def summary_table(outcome: Outcome) -> str:
    """The counts of a corpus as a table to print."""
    counts = outcome.counts
    lines = [f"{'':<24}{'cases':>8}{'videos':>8}{'clips':>8}{'frames':>9}"]
    for split, row in counts["splits"].items():
        cells = f"{row['cases']:>8}{row['videos']:>8}{row['clips']:>8}{row['frames']:>9}"
        lines.append(f"{'kept, ' + split:<24}{cells}")
    lines.append(f"{'':<24}{'':>8}{'':>8}{'rows':>8}{'frames':>9}")
    for reason, row in counts["dropped"].items():
        lines.append(f"{'dropped, ' + reason:<24}{'':>8}{'':>8}{row['rows']:>8}{row['frames']:>9}")
    lines.append(f"{'sampled':<24}{'':>8}{'':>8}{'':>8}{counts['frames_sampled']:>9}")
    searched = ", ".join(f"{files} {outcome}" for outcome, files in counts["overlay"].items())
    lines.append(f"overlays, by file: {searched}; {counts['masks']} masks")
    return "\n".join(lines)


class _Progress:
    """The progress bar: source bytes done, with frames per second and the file in work beside it."""

    def __init__(self) -> None:
        self._total = 0
        self._done = 0
        self._frames = 0
        self._bytes = 0
        self._size = 0
        self._start = time.monotonic()
        self._bar: tqdm[Any] | None = None  # none while there is nothing to do

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def add(self, units: Sequence[Unit]) -> None:
        if not units:
            return
        self._total += len(units)
        self._size += sum(unit.size for unit in units)
        if self._bar is None:
            self._bar = tqdm(
                total=0,
                bar_format="{percentage:3.0f}%|{bar:24}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]",
                unit="B",
                unit_scale=True,
                mininterval=0.5,
            )
        self._bar.total = self._size

    def begin(self, unit: Unit) -> None:
        self._bytes = 0
        self._name = unit.files[0].location.name  # the true name: it is shown to the user, and kept nowhere

    def advance(self, frames: int, num_bytes: float) -> None:
        self._frames += frames
        self._bytes += int(num_bytes)
        self._show(int(num_bytes))

    def end(self, unit: Unit) -> None:
        self._done += 1
        self._show(unit.size - self._bytes)

    def _show(self, num_bytes: int) -> None:
        if self._bar is None:
            return
        rate = self._frames / max(time.monotonic() - self._start, 1e-3)
        text = f"{self._frames} frames, {rate:.1f} frames/s, {self._done}/{self._total} videos, {self._name[-40:]}"
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(num_bytes)


def _check_labels(file: SourceFile, known: FileRecord, settings: CurationSettings) -> None:
    now = file_record(file, settings)
    changed = [
        f"{name}={getattr(known, name)!r} there, {getattr(now, name)!r} now"
        for name in LABELS
        if getattr(known, name) != getattr(now, name)
    ]
    if changed:
        raise UserError(
            f"{str(file.location)!r} is in the corpus with other labels ({'; '.join(changed)}): give the same ones, or "
            "leave this input out"
        )


def _same_content(file: SourceFile, known: FileRecord) -> bool:
    try:
        return file_sha256(file.location) == known.sha256
    except OSError:
        return known.sha256 == ""  # it could not be read then either


def _no_frames(inputs: Sequence[Path | str], reasons: Counter[str]) -> UserError:
    found = ", ".join(f"{number} {reason}" for reason, number in sorted(reasons.items())) or "no files"
    where = ", ".join(repr(str(path)) for path in inputs)
    return UserError(f"no usable frame in {where} ({found}): give folders that hold surgical videos or images")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"

"""Curation from input folders to a corpus: what is new is curated unit by unit, the rest is left as it is."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from training.corpus.decoding import check_reader
from training.corpus.frames import file_sha256
from training.corpus.identity import Names, open_names
from training.corpus.inputs import Inputs, open_inputs
from training.corpus.journal import Journal
from training.corpus.manifest import Drop
from training.corpus.publication import publish, recorded_fingerprint
from training.corpus.settings import LABELS, CurationSettings
from training.corpus.sources import Scan, SourceFile, Unit, file_drop, group
from training.corpus.staged import FileRecord, file_record, load_unit
from training.corpus.state import State
from training.corpus.unit import WORKER_DIED
from training.corpus.withdrawn import REMOVED, Withdrawn
from training.corpus.work.engines import open_engine
from training.corpus.work.order import in_order
from training.corpus.work.progress import ProgressBar
from training.corpus.work.task import Task, task_folder
from training.errors import UserError, full_disk_error


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
    no_space = (
        f"no space left for the output folder {str(out)!r}: free some and run the same command again, it continues "
        "where it stopped"
    )
    with (
        full_disk_error(no_space),
        open_names(out, settings) as names,
        Journal(out, settings, names.mark) as journal,
    ):
        gone = _count_gone(opened.found, journal.state, names)
        work = _work_off(_plans(opened, journal.state, settings, names), journal, settings)
        if not journal.state.clips:
            reasons = Counter(drop.reason for drop in journal.state.drops)
            if journal.created:
                journal.remove()
            raise _no_frames(inputs, reasons)
        before = recorded_fingerprint(out)
        counts, print_ = publish(journal.state, out, settings, force=not work.nothing_new)
        unchanged = work.nothing_new and before in ("", print_)  # else a new balance has changed the weights
    seconds = time.monotonic() - start
    return Outcome(counts, print_, unchanged, work.sampled, work.resumed, seconds, gone)


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
    died = {(drop.input, drop.path) for drop in state.drops if drop.reason == WORKER_DIED}
    for kind, files in (("videos", found.videos), ("stills", found.stills)):
        for file in files:
            shown = names.file(file)
            known = state.files.get(shown.key)
            if known is None:
                new[kind].append(file)
                continue
            if known.frames_kept:
                _check_labels(shown, known, settings)
            if shown.key in died:  # of a full memory perhaps, so it is worth another try
                replaced.add(shown.key)
                new[kind].append(file)
                continue
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
    units, refused = _without_removed(new, Withdrawn(state.removals), settings, names)
    for shown in (names.file(file) for file, _ in refused):
        records.append(file_record(shown, settings, replaced=shown.key in replaced))
    names.remember(units, [file for file, _ in fresh])
    drops = [names.drop(file, drop) for file, drop in [*fresh, *refused]]
    return Plan(names.units(units), replaced, records, drops)


def _without_removed(
    new: dict[str, list[SourceFile]], withdrawn: Withdrawn, settings: CurationSettings, names: Names
) -> tuple[list[Unit], list[tuple[SourceFile, Drop]]]:
    """The new files as units, and those that may not enter because their case was removed."""
    why: dict[tuple[str, str], str] = {}
    refused: list[SourceFile] = []
    allowed: dict[str, list[SourceFile]] = {}
    for kind, files in new.items():
        why |= {file.key: reason for file in files if (reason := withdrawn.file(names.file(file)))}
        refused += [file for file in files if file.key in why]
        allowed[kind] = [file for file in files if file.key not in why]
    units = []
    for unit in group(allowed["videos"], allowed["stills"], settings):
        if reason := withdrawn.unit(names.unit(unit)):
            why |= dict.fromkeys((file.key for file in unit.files), reason)
            refused += unit.files
        else:
            units.append(unit)
    return units, [(file, file_drop(file, "", REMOVED, why[file.key])) for file in refused]


def _count_gone(found: Scan, state: State, names: Names) -> int:
    """Files of the corpus that are no longer in the inputs on this machine."""
    keys = {names.file(file).key for file in found.files()}
    inputs = {key[0] for key in keys}
    return sum(key[0] in inputs and key not in keys for key in state.files)


def _work_off(plans: Iterator[Plan], journal: Journal, settings: CurationSettings) -> _Work:
    """Curate the units of all plans and commit them shard by shard, in the order of the plans.

    The outcomes that wait, for an earlier unit or for a full shard, hold at most `workers` + 1 times `shard_megabytes`
    of frames, beside what the running units write.
    """
    pending: list[Path] = []
    pending_bytes = 0
    work = _Work()
    records: list[FileRecord] = []
    drops: list[Drop] = []
    with open_engine(settings, journal.work) as engine, ProgressBar() as progress:
        for plan in plans:
            progress.add(plan.units)
            work.nothing_new = work.nothing_new and plan.nothing_new
            records += plan.records
            drops += plan.drops
            tasks = [_task(unit, plan, journal, settings) for unit in plan.units]
            work.resumed += sum(task.finished for task in tasks)
            held = engine.workers * settings.shard_megabytes * 1e6
            for task in in_order(tasks, engine, held, progress.advance):
                staged = load_unit(task.folder)
                pending.append(task.folder)
                pending_bytes += staged.num_bytes
                work.sampled += sum(file.frames_sampled for file in staged.files)
                progress.end(task)
                if pending_bytes >= settings.shard_megabytes * 1e6:
                    journal.commit(pending, [], [])
                    pending, pending_bytes = [], 0
        if not work.nothing_new:
            journal.commit(pending, records, drops)
    for folder in journal.work.iterdir():  # of files that have changed or vanished since an interrupted run
        journal.discard(folder)
    return work


def _task(unit: Unit, plan: Plan, journal: Journal, settings: CurationSettings) -> Task:
    replaced = any(file.key in plan.replaced for file in unit.files)
    return Task(unit, settings, task_folder(journal.work, unit, settings), replaced)


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

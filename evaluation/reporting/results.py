"""What a report is made from: the records of results files, where their predictions lie, and what was skipped."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.records import ResultRecord, read_records
from evaluation.skips import Skip, read_skips
from training.corpus.machine_paths import without_folders
from training.errors import UserError


@dataclass(frozen=True)
class Found:
    """A record, the results file it is from, and its predictions file (`None` for a task that keeps none)."""

    record: ResultRecord
    file: Path

    @property
    def predictions(self) -> Path | None:
        """Its predictions file, which need not exist."""
        return None if self.record.predictions is None else self.file.parent / self.record.predictions


@dataclass(frozen=True)
class Results:
    """All records and skips, in the order of the files."""

    found: tuple[Found, ...]
    skips: tuple[Skip, ...]  # reasons name files without their folders, as reports travel


def read_results(files: Sequence[Path]) -> Results:
    """Records of all files without repetitions, and skips of what no record measures.

    Raises:
        UserError: a file that is missing or broken, or files without a record.
    """
    found: dict[tuple[str, ...], Found] = {}
    skips: dict[tuple[str, ...], Skip] = {}
    for file in files:
        if not file.exists():
            raise UserError(f"results file {str(file)!r} does not exist; evaluation.benchmark writes it")
        for record in read_records(file):
            found.setdefault((record.student_sha256, *record.key), Found(record, file))
        skips |= {skip.place: skip for skip in read_skips(file)}
    if not found:
        listed = ", ".join(repr(str(file)) for file in files)
        raise UserError(f"{listed}: no record to report on; evaluation.benchmark appends them")
    records = [each.record for each in found.values()]
    open_skips = tuple(
        dataclasses.replace(skip, reason=without_folders(skip.reason))
        for skip in skips.values()
        if not any(_measures(record, skip) for record in records)
    )
    return Results(tuple(found.values()), open_skips)


def _measures(record: ResultRecord, skip: Skip) -> bool:
    """Whether a record is what was once skipped; an empty name in a skip stands for all."""
    own = (record.task, record.protocol, record.probe, record.model)
    return all(left in ("", there) for left, there in zip(skip.place, own, strict=True))

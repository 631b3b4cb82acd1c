"""Removed cases: the record of each, which files may not come back, and the tables that a removal thins out."""

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from training.corpus.atomic import replacing
from training.corpus.duplicates.seen import SEEN_FILE
from training.corpus.frames import file_sha256
from training.corpus.segments import DUPLICATES_FILE
from training.corpus.sources import SourceFile, Unit
from training.errors import UserError

REMOVALS_FILE = "removals.json"
REMOVED = "removed"  # reason in drops.parquet
# Of other rooms that are slow to import; test_removal.py holds them together.
EMBEDDINGS = "embeddings"  # folder in the journal
REPORT_FILE = "report.html"
SUMMARY_KEY = b"summary"  # in the metadata of duplicates.parquet


@dataclass(frozen=True)
class RemovedFile:
    """A source file of a removed case."""

    input: str
    path: str
    size: int  # bytes
    sha256: str  # "" when it had not been opened


@dataclass(frozen=True)
class RewrittenShard:
    """A shard that held frames of a removed case."""

    name: str
    before: str  # SHA-256 of the file
    after: str  # "" when nothing was left in it


@dataclass(frozen=True)
class Removal:
    """One removed case. Holds nothing of what was seen in it."""

    case_id: str
    time: str  # UTC, to the second
    clips: int
    frames: int
    shards: tuple[RewrittenShard, ...]
    files: tuple[RemovedFile, ...]


def write_removals(removals: Sequence[Removal], path: Path) -> None:
    """Write the records of all removals so far."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps([asdict(removal) for removal in removals], indent=1), encoding="utf-8")


def read_removals(path: Path) -> list[Removal]:
    """What `write_removals` wrote."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [
        Removal(
            **{
                **row,
                "shards": tuple(RewrittenShard(**shard) for shard in row["shards"]),
                "files": tuple(RemovedFile(**file) for file in row["files"]),
            }
        )
        for row in rows
    ]


class Withdrawn:
    """What may not enter a corpus again: cases that were removed, their files by name, and the same bytes elsewhere."""

    def __init__(self, removals: Sequence[Removal]) -> None:
        files = [file for removal in removals for file in removal.files]
        self._cases = {removal.case_id for removal in removals}
        self._keys = {(file.input, file.path) for file in files}
        self._digests = {file.sha256 for file in files} - {""}
        self._sizes = {file.size for file in files if file.sha256}

    def file(self, file: SourceFile) -> str:
        """Why a file, under the name that the corpus shows, may not enter; "" if it may."""
        if file.key in self._keys:
            return "a file of a case that was removed from this corpus"
        if file.size not in self._sizes:
            return ""
        try:
            same = file_sha256(file.location) in self._digests
        except OSError:
            return ""  # it cannot be read, so nothing of it can enter
        return "the same content as a file of a case that was removed from this corpus" if same else ""

    def unit(self, unit: Unit) -> str:
        """Why a unit, under the names that the corpus shows, may not enter; "" if it may."""
        return "its case was removed from this corpus" if unit.case_id in self._cases else ""


def remove_traces(out: Path, removal: Removal, clips: Collection[str]) -> None:
    """Remove what other commands have derived from the case: doing it twice is doing it once.

    Args:
        out: folder of the corpus.
        removal: the record.
        clips: ids of the clips that remain.

    Raises:
        UserError: a table that may name the case cannot be read.
    """
    _remove_from_duplicates(out, removal.case_id)
    seen = out / "journal" / SEEN_FILE
    thin_out([seen], seen, lambda row: row["clip_id"] in clips)
    for shard in removal.shards:  # an embedding tells much of its picture
        for path in (out / "journal" / EMBEDDINGS).glob(f"*/{Path(shard.name).stem}-*.npy"):
            path.unlink()
    (out / REPORT_FILE).unlink(missing_ok=True)  # it may show the case


def _remove_from_duplicates(out: Path, case_id: str) -> None:
    """Take a case out of duplicates.parquet, if there is one.

    A cluster with one frame left is none. Where the representative was of that case, the first frame left takes its
    part; the distances of the others stay those that were measured to the old one.
    """
    path = out / DUPLICATES_FILE
    if not path.is_file():
        return
    table = _read_table(path)
    table = table.filter(pc.not_equal(table["case_id"], case_id))
    clusters = table["cluster"].to_pylist()
    chosen = table["representative"].to_pylist()
    distances = table["distance"].to_pylist()
    sizes: dict[int, int] = {}
    led = set()
    for cluster, first in zip(clusters, chosen, strict=True):
        sizes[cluster] = sizes.get(cluster, 0) + 1
        if first:
            led.add(cluster)
    for row, cluster in enumerate(clusters):
        if cluster not in led:
            led.add(cluster)
            chosen[row], distances[row] = True, 0.0
    for name, values in (("representative", chosen), ("distance", distances)):
        position = table.schema.get_field_index(name)
        column = table.schema.field(position)
        table = table.set_column(position, column, pa.array(values, column.type))
    summary = json.loads((table.schema.metadata or {}).get(SUMMARY_KEY, b"{}"))
    if summary:  # its counts are those of the search
        summary["cases_removed_since"] = sorted({*summary.get("cases_removed_since", []), case_id})
        table = table.replace_schema_metadata({**table.schema.metadata, SUMMARY_KEY: json.dumps(summary).encode()})
    table = table.filter(pa.array([sizes[cluster] > 1 for cluster in clusters], pa.bool_()))
    with replacing(path) as temporary:
        pq.write_table(table, temporary)


def thin_out(paths: Iterable[Path], target: Path, keep: Callable[[dict[str, object]], bool]) -> None:
    """Write the rows of some tables of one schema that `keep` is true for as one table; nothing if there is none."""
    tables = [_read_table(path) for path in paths if path.is_file()]
    if not tables:
        return
    rows = [row for table in tables for row in table.to_pylist() if keep(row)]
    with replacing(target) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=tables[-1].schema), temporary)


def _read_table(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(
            f"{str(path)!r} cannot be read ({type(error).__name__}), and may name a removed case: restore it from a "
            "copy or remove it, then run the same command again"
        ) from error

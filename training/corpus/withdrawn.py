"""Removed cases: the record of each, which files may not come back, and the tables that a removal thins out."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from training.corpus.atomic import replacing
from training.corpus.frames import file_sha256
from training.corpus.segments import DUPLICATES_FILE
from training.corpus.sources import SourceFile, Unit

REMOVALS_FILE = "removals.json"
REMOVED = "removed"  # reason in drops.parquet


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


def remove_from_duplicates(out: Path, case_id: str) -> None:
    """Take a case out of duplicates.parquet, if there is one.

    A cluster with one frame left is none. Where the representative was of that case, the first frame left takes its
    part; the distances stay those that were measured to the old one.
    """
    path = out / DUPLICATES_FILE
    if not path.is_file():
        return
    table = pq.read_table(path)
    table = table.filter(pc.not_equal(table["case_id"], case_id))
    clusters = table["cluster"].to_pylist()
    chosen = table["representative"].to_pylist()
    sizes: dict[int, int] = {}
    led = set()
    for cluster, first in zip(clusters, chosen, strict=True):
        sizes[cluster] = sizes.get(cluster, 0) + 1
        if first:
            led.add(cluster)
    for row, cluster in enumerate(clusters):
        if cluster not in led:
            led.add(cluster)
            chosen[row] = True
    position = table.schema.get_field_index("representative")
    table = table.set_column(position, table.schema.field(position), pa.array(chosen, pa.bool_()))
    table = table.filter(pa.array([sizes[cluster] > 1 for cluster in clusters], pa.bool_()))
    with replacing(path) as temporary:
        pq.write_table(table, temporary)


def thin_out(paths: Iterable[Path], target: Path, keep: Callable[[dict[str, object]], bool]) -> None:
    """Write the rows of some tables of one schema that `keep` is true for as one table; nothing if there is none."""
    tables = [pq.read_table(path) for path in paths if path.is_file()]
    if not tables:
        return
    rows = [row for table in tables for row in table.to_pylist() if keep(row)]
    with replacing(target) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=tables[-1].schema), temporary)

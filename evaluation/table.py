"""The comparison table: result records -> rows -> aligned text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from evaluation.records import Interval, ResultRecord, Shots

ROLE_ORDER = ("student", "random_init", "teacher", "peer", "histogram", "majority")
HEADINGS = ("model", "role", "value", "95 % interval", "student − model", "95 % interval")


@dataclass(frozen=True)
class TableRow:
    """One model in one table. `difference` is student minus this model; None for the student itself."""

    task: str
    dataset: str
    protocol: str
    probe: str
    shots: Shots | None
    seeds: tuple[int, ...]
    metric: str
    variant: str
    student_sha256: str
    model: str
    role: str
    value: float | None
    interval: Interval | None
    difference: float | None
    difference_interval: Interval | None
    test_cases: int
    pretraining_overlap: int | None

    @property
    def measured(self) -> float:
        """The value; `ValueError` where the metric is undefined."""
        if self.value is None:
            raise ValueError(f"{self.metric} of {self.model} in {self.task} is undefined")
        return self.value

    @property
    def table(self) -> tuple[str, ...]:
        """Rows with the same value belong into one table."""
        return (
            self.task,
            self.dataset,
            self.protocol,
            self.probe,
            str(self.shots),
            str(self.seeds),
            self.metric,
            self.variant,
            self.student_sha256,
        )


def table_rows(records: Iterable[ResultRecord]) -> list[TableRow]:
    """Rows of all tables, tables as they first appear: student, random init, teachers, histogram, majority."""
    rows = [
        TableRow(
            task=record.task,
            dataset=record.dataset,
            protocol=record.protocol,
            probe=record.probe,
            shots=record.shots,
            seeds=record.seeds,
            metric=record.metric,
            variant=record.variant,
            student_sha256=record.student_sha256,
            model=record.model,
            role=record.model_role,
            value=record.value,
            interval=record.interval,
            difference=record.paired.difference if record.paired else None,
            difference_interval=record.paired.interval if record.paired else None,
            test_cases=len(record.split.test_cases),
            pretraining_overlap=record.pretraining_overlap,
        )
        for record in records
    ]
    return [
        row
        for _, members in tables(rows)
        for row in sorted(members, key=lambda row: ROLE_ORDER.index(row.role))  # stable: teachers stay in their order
    ]


def tables(rows: Iterable[TableRow]) -> list[tuple[str, list[TableRow]]]:
    """Title and rows of each table, in the order of first appearance."""
    groups: dict[tuple[str, ...], list[TableRow]] = {}
    for row in rows:
        groups.setdefault(row.table, []).append(row)
    return [(_title(members[0]), members) for members in groups.values()]


def warnings(rows: Sequence[TableRow]) -> list[str]:
    """What a reader must know before the numbers: test files that were in the pretraining corpus."""
    overlap = max((row.pretraining_overlap or 0 for row in rows), default=0)
    if not overlap:
        return []
    return [
        f"WARNING: {overlap} test files were in the pretraining corpus; the student's value is not a held-out result"
    ]


def to_text(rows: Sequence[TableRow]) -> str:
    """Aligned tables for the console."""
    blocks = []
    for title, members in tables(rows):
        cells = [list(HEADINGS), *(_cells(row) for row in members)]
        widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
        lines = [
            "  ".join(
                cell.ljust(width) if column < 2 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in cells
        ]
        blocks.append("\n".join([title, *warnings(members), *lines]))
    return "\n\n".join(blocks)


def _title(row: TableRow) -> str:
    cases = f"{row.test_cases} test case" + ("s" if row.test_cases != 1 else "")
    few = f", {row.shots.count} {row.shots.unit} (subset {row.shots.subset})" if row.shots else ""
    seed = f", seed {row.seeds[0]}" if row.seeds != (0,) else ""
    return f"{row.task} · {row.protocol}, {row.probe} probe{few}{seed} · {row.metric} ({row.variant}) · {cases}"


def _cells(row: TableRow) -> list[str]:
    return [
        row.model,
        row.role.replace("_", " "),
        "undefined" if row.value is None else f"{row.value:.3f}",
        _span(row.interval, "{:.3f}"),
        "" if row.difference is None else f"{row.difference:+.3f}",
        _span(row.difference_interval, "{:+.3f}"),
    ]


def _span(bounds: Interval | None, form: str) -> str:
    return "" if bounds is None else f"[{form.format(bounds[0])}, {form.format(bounds[1])}]"

"""Result records of one model as tables, findings and Hub metadata; records of other weights are refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import EvalResult

from evaluation.records import ResultRecord, read_records
from evaluation.reporting.cautions import FEW_CASES
from evaluation.table import TableRow, table_rows, tables, warnings
from evaluation.tasks import TASKS
from training.errors import UserError

# Families of tasks as the Hub names them; a probe on a frozen backbone is still the task it solves.
_HUB_TASKS = {"presence": "image-classification", "cvs": "image-classification", "segmentation": "image-segmentation"}
_HUB_TASK_OTHERWISE = "image-feature-extraction"


@dataclass(frozen=True)
class ResultTable:
    """One measurement of every model, with the records behind the rows in the same order: the student first."""

    rows: tuple[TableRow, ...]
    records: tuple[ResultRecord, ...]
    warnings: tuple[str, ...]

    @property
    def head(self) -> TableRow:
        """The student's row; task, probe, metric and the rest are the same in all rows."""
        return self.rows[0]

    def row(self, role: str) -> TableRow | None:
        """The first row with this role."""
        return next((row for row in self.rows if row.role == role), None)


def read_results(path: Path, weights_sha256: str) -> list[ResultTable]:
    """The tables of a card: primary measures with all labels, of the model whose weights have this hash.

    What is undefined is left out, and a table with it if it is the student's own value. `evaluation.report` shows the
    other measures and the few-shot records.

    Raises:
        UserError: the file is missing, empty or broken, a record is about another student's weights, a table has no
            row of the student, or it has two records of one model (measured with other settings).
    """
    if not path.exists():
        raise UserError(f"results file {str(path)!r} does not exist; evaluation.benchmark writes it")
    records = read_records(path)
    if not records:
        raise UserError(f"results file {str(path)!r} holds no record; evaluation.benchmark writes them")
    for number, record in enumerate(records, start=1):
        if record.student_sha256 != weights_sha256:
            raise UserError(
                f"record {number} of {str(path)!r} ({record.task}) is about weights {record.student_sha256[:12]}, but "
                f"this run's model has {weights_sha256[:12]}; give a results file of this model only"
            )
    shown = [record for record in records if record.primary and record.shots is None]
    rows = {id(record): table_rows([record])[0] for record in shown}
    undefined = {rows[id(r)].table for r in shown if r.model_role == "student" and r.value is None}
    kept = [r for r in shown if r.value is not None and rows[id(r)].table not in undefined]
    return [_result_table(members, kept, path) for _, members in tables(table_rows(kept))]


def _result_table(rows: list[TableRow], records: list[ResultRecord], path: Path) -> ResultTable:
    head = rows[0]
    where = f"{str(path)!r}: task {head.task} ({head.variant}, {head.probe} probe)"
    names = [(row.role, row.model) for row in rows]
    twice = next((name for role, name in names if names.count((role, name)) > 1), None)
    if twice is not None:
        raise UserError(f"{where} has two records of {twice!r}, measured with other settings; keep one of them")
    if head.role != "student":
        raise UserError(f"{where} has no record of the student")
    by_name = {(str(r.model_role), r.model): r for r in records if table_rows([r])[0].table == head.table}
    return ResultTable(tuple(rows), tuple(by_name[name] for name in names), tuple(warnings(rows)))


def by_task(results: Sequence[ResultTable]) -> list[tuple[str, list[ResultTable]]]:
    """Tables of each task together, tasks as they first appear."""
    groups: dict[str, list[ResultTable]] = {}
    for table in results:
        groups.setdefault(table.head.task, []).append(table)
    return list(groups.items())


def eval_results(results: Sequence[ResultTable]) -> list[EvalResult]:
    """The student's numbers as `model-index` metadata, each with protocol, interval and floors beside it."""
    entries = []
    for table in results:
        record = table.records[0]
        family = TASKS.get(record.task).family if record.task in TASKS else ""
        entries.append(
            EvalResult(
                task_type=_HUB_TASKS.get(family, _HUB_TASK_OTHERWISE),
                task_name=record.task,
                dataset_type=record.dataset,
                dataset_name=record.dataset,
                dataset_config=record.task,
                dataset_split="test",
                metric_type=record.metric,
                metric_name=f"{record.metric} ({record.variant}), {record.protocol}, {record.probe} probe",
                metric_value=record.value,
                metric_args={
                    "interval_95": list(record.interval) if record.interval else None,
                    "test_cases": len(record.split.test_cases),
                    "floors": vars(record.floors),
                },
            )
        )
    return entries


def comparisons(results: Sequence[ResultTable]) -> list[str]:
    """Where the student is not clearly ahead of a floor, or clearly behind a teacher: a sentence each, with places."""
    varied = varied_tasks(results)
    places: dict[str, list[str]] = {}
    for table in results:
        variant = f", {short_variant(table.head)}" if table.head.task in varied else ""
        for row in table.rows[1:]:
            finding = judge(row)
            if finding is not None:
                places.setdefault(finding, []).append(f"{table.head.task} ({table.head.probe}{variant})")
    return [f"{finding}: {', '.join(names)}." for finding, names in places.items()]


def cautions(results: Sequence[ResultTable]) -> list[str]:
    """What limits every number of a table: test files seen in pretraining, and few test cases."""
    sentences = [f"{table.head.task}: {warning}." for table in results for warning in table.warnings]
    few = sorted({(t.head.task, t.head.test_cases) for t in results if t.head.test_cases < FEW_CASES})
    if few:
        listed = ", ".join(f"{task} {count}" for task, count in few)
        sentences.append(
            f"Few test cases ({listed}): an interval over so few says little about other hospitals, teams or devices."
        )
    return list(dict.fromkeys(sentences))


def short_variant(row: TableRow) -> str:
    """The first clause of a variant: enough to tell the variants of one task apart."""
    return row.variant.partition(",")[0]


def varied_tasks(results: Sequence[ResultTable]) -> set[str]:
    """Tasks that measure more than one variant, so that their name alone does not say which number is meant."""
    variants = {(table.head.task, table.head.variant) for table in results}
    tasks = [task for task, _ in variants]
    return {task for task in tasks if tasks.count(task) > 1}


def verdict(row: TableRow) -> str | None:
    """By the paired interval: is the student better ("up"), worse ("down") or "even"; `None` without an interval."""
    if row.difference_interval is None:
        return None
    low, high = row.difference_interval
    if low > 0:
        return "up"
    return "down" if high < 0 else "even"


def judge(row: TableRow) -> str | None:
    """What is to be said where the student is not clearly ahead of a floor, or clearly behind a teacher."""
    if row.role == "student":
        return None
    direction = verdict(row)
    if direction is None:
        return f"No interval, so nothing is shown against {row.model} (a single test case)"
    if row.role == "teacher":
        return f"The teacher {row.model} is better" if direction == "down" else None
    return {"up": None, "even": f"No difference from {row.model} is shown", "down": f"Worse than {row.model}"}[
        direction
    ]

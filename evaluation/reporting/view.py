"""A task as the page and the text show it: one table per protocol, its single runs, and its pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from evaluation.records import Interval
from evaluation.reporting.pairs import Pair, pair_up
from evaluation.reporting.resampling import Resampler
from evaluation.reporting.scores import FLOORS, Condition, Measure, Model, Run, Score, TaskScores


@dataclass(frozen=True)
class Cell:
    """A score in a table.

    Attributes:
        value: mean over runs; `None` if undefined.
        deviation: standard deviation over runs; `None` for a single one.
        reach: smallest and largest value of several runs.
        spread_over: what the runs differ in; "" for a single one.
        interval: by cases, of a single run.
        floors: in the order of `FLOORS`; empty for a model that is a floor.
    """

    value: float | None
    deviation: float | None
    reach: Interval | None
    spread_over: str
    interval: Interval | None
    floors: tuple[float | None, ...]


@dataclass(frozen=True)
class TableRow:
    """A model under one condition; `cells` follow the measures, `None` where it was not measured."""

    model: Model
    condition: Condition
    cells: tuple[Cell | None, ...]
    run: str = ""  # "subset 2, seed 0" in tables of single runs


@dataclass(frozen=True)
class PairTable:
    """All models against all others on one primary measure under one condition.

    `cells[i][j]` is model i minus model j; `None` on the diagonal and for pairs that cannot be compared.
    """

    condition: Condition
    measure: Measure
    models: tuple[Model, ...]
    cells: tuple[tuple[Pair | None, ...], ...]
    recomputed: bool  # otherwise some pairs are as the records state them, against the student only

    @property
    def pairs(self) -> list[Pair]:
        """Each pair once."""
        found = (self.cells[i][j] for i, j in combinations(range(len(self.models)), 2))
        return [pair for pair in found if pair is not None]


@dataclass(frozen=True)
class ProtocolView:
    """One protocol of a task: models x measures, the single runs behind means, and pairs."""

    protocol: str
    measures: tuple[Measure, ...]
    rows: tuple[TableRow, ...]
    runs: tuple[TableRow, ...]
    pairs: tuple[PairTable, ...]


def protocol_view(task: TaskScores, protocol: str, resampler: Resampler) -> ProtocolView:
    """Tables of one protocol."""
    scores = [score for score in task.scores if score.condition.protocol == protocol]
    measures = [measure for measure in task.measures if any(score.measure == measure for score in scores)]
    by_place: dict[tuple[Condition, Model], dict[Measure, Score]] = {}
    for score in scores:
        by_place.setdefault((score.condition, score.model), {})[score.measure] = score
    rows, runs = [], []
    for (condition, model), own in by_place.items():
        found = [own.get(measure) for measure in measures]
        rows.append(TableRow(model, condition, tuple(None if score is None else _cell(score) for score in found)))
        every = sorted({run for score in own.values() for run in score.runs}, key=_order)
        if len(every) > 1:
            runs += [TableRow(model, condition, _run_cells(found, run), _run_name(run)) for run in every]
    tables = [
        _pair_table(task.pick(condition, measure), resampler)
        for condition in task.conditions
        if condition.protocol == protocol
        for measure in measures
        if measure.primary
    ]
    shown = tuple(table for table in tables if table is not None)
    return ProtocolView(protocol, tuple(measures), tuple(rows), tuple(runs), shown)


def _cell(score: Score) -> Cell:
    reach = (min(score.values), max(score.values)) if len(score.values) > 1 else None
    return Cell(score.mean, score.deviation, reach, score.spread_over, score.interval, _floors(score))


def _run_cells(scores: Sequence[Score | None], run: Run) -> tuple[Cell | None, ...]:
    cells: list[Cell | None] = []
    for score in scores:
        if score is None or run not in score.runs:
            cells.append(None)
        else:
            record = score.runs[run].record
            cells.append(Cell(record.value, None, None, "", record.interval, ()))
    return tuple(cells)


def _floors(score: Score) -> tuple[float | None, ...]:
    return () if score.model.is_floor else tuple(score.floor(name) for name in FLOORS)


def _order(run: Run) -> tuple[tuple[int, ...], int]:
    return run[0], -1 if run[1] is None else run[1]


def _run_name(run: Run) -> str:
    seeds = f"seed{'s' if len(run[0]) != 1 else ''} {', '.join(str(seed) for seed in run[0])}"
    return seeds if run[1] is None else f"subset {run[1]}, {seeds}"


def _pair_table(scores: Sequence[Score], resampler: Resampler) -> PairTable | None:
    pairs = pair_up(scores, resampler)
    if not pairs:
        return None
    found = {(pair.first, pair.second): pair for pair in pairs}
    found |= {(pair.second, pair.first): pair.turned() for pair in pairs}
    models = tuple(score.model for score in scores)
    cells = tuple(tuple(found.get((row, column)) for column in models) for row in models)
    recomputed = all(pair.recomputed for pair in pairs)
    return PairTable(scores[0].condition, scores[0].measure, models, cells, recomputed)

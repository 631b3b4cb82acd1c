"""The report of a run as one HTML page that needs nothing else and runs nothing."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from evaluation.table import TableRow
from hub_cards.corpus_facts import CorpusFacts, count_corpus, open_corpus, spread_frames
from hub_cards.curves import agreement_charts, loss_chart, teacher_colors
from hub_cards.hub_folder import MARKER, PICTURE, read_marker, refuse_machine_paths
from hub_cards.model_card import TEMPLATES, environment, model_name, training_facts, weights_licence
from hub_cards.results import ResultTable, by_task, cautions, read_results, short_variant, varied_tasks, verdict
from hub_cards.run_records import Run, lookup, read_run
from training.corpus.corpus import Corpus
from training.corpus.manifest import Drop
from training.errors import UserError
from training.report.output import refuse_other_file
from training.report.pictures import Thumbnail, data_address
from training.report.rendering import html_environment, render
from training.run_folder import write_atomic

TEMPLATE = "report.html.jinja"
MADE_BY = "hub_cards.report"
THUMBNAILS = 8
THUMBNAIL_WIDTH = 400  # pixels; more than it is shown at, so that it is sharp on dense screens
DROP_EXAMPLES = 3  # per reason
LOWEST = -1.0  # where bars of R² below the constant predictor are cut off
_MARKS = {"up": "▲", "down": "▼", "even": "="}


@dataclass(frozen=True)
class Bar:
    """A value and its interval on the axis of its table, all in percent of the axis."""

    start: float
    length: float
    low: float
    span: float
    zero: float


@dataclass(frozen=True)
class Cell:
    """One value of the overview. `verdict`: is the student better ("up"), worse ("down"), or not shown to differ."""

    value: float
    best: bool
    verdict: str | None


@dataclass(frozen=True)
class GlanceRow:
    """One measurement of the overview; `cells` follow the columns, `None` where a model was not measured."""

    task: str
    detail: str
    metric: str
    probe: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Glance:
    """The overview: models as columns, measurements as rows."""

    columns: tuple[str, ...]
    rows: tuple[GlanceRow, ...]


def make_report(run_folder: Path, results_file: Path, corpus_folder: Path, hub: Path, output: Path) -> None:
    """Write the report.

    Args:
        run_folder: of a finished run.
        results_file: records about this run's model.
        corpus_folder: the run's corpus; some of its frames are shown.
        hub: folder that `hub_cards.card` made of this run; its picture is shown.
        output: HTML file to write; an earlier report is replaced.

    Raises:
        UserError: something is missing, broken or does not belong together; nothing has been written then.
    """
    refuse_other_file(output, MADE_BY)
    run = read_run(run_folder)
    if read_marker(hub)["weights_sha256"] != run.weights_sha256:
        raise UserError(f"--hub {str(hub)!r} holds another model than run {str(run_folder)!r}; make its card anew")
    results = read_results(results_file, run.weights_sha256)
    corpus = open_corpus(corpus_folder, lookup(run.corpus, ("fingerprint",), "corpus.json"))
    page = report_page(run, results, corpus, count_corpus(corpus, corpus_folder), hub)
    refuse_machine_paths(page, output.name, [output, run_folder, corpus_folder])
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(output, page)


def report_page(run: Run, results: Sequence[ResultTable], corpus: Corpus, counted: CorpusFacts, hub: Path) -> str:
    """The whole page as HTML."""
    picture = hub / PICTURE
    licence = weights_licence(run, counted)
    return render(
        html_environment(TEMPLATES),
        TEMPLATE,
        {
            "made_by": MADE_BY,
            "name": model_name(run),
            "facts": [*training_facts(run), ("teachers", ", ".join(teacher.name for teacher in run.teachers))],
            "glance": glance(results),
            "marks": _MARKS,
            "cautions": cautions(results),
            "picture_note": lookup(read_marker(hub), ("picture_note",), MARKER),
            "picture": data_address(picture.read_bytes(), "image/png") if picture.is_file() else None,
            "tasks": by_task(results),
            "bars": bars,
            "agreement": run.held_out(),
            "colors": teacher_colors(run),
            "curves": [*agreement_charts(run), *loss_chart(run)],
            "corpus": counted,
            "thumbnails": thumbnails(corpus),
            "drop_examples": drop_examples(counted.drops),
            "provenance": [
                ("weights (SHA-256)", run.weights_sha256),
                ("corpus manifest (SHA-256)", counted.fingerprint),
                ("licence of the weights", f"{licence.identifier}: {licence.reason}"),
                *(
                    (f"teacher {each.name}", f"{each.source}, {each.licence or 'licence not recorded'}")
                    for each in run.teachers
                ),
                *environment(run, results),
            ],
        },
    )


def glance(results: Sequence[ResultTable]) -> Glance:
    """All measurements in one table."""
    names = list(dict.fromkeys(_column(row) for table in results for row in table.rows))
    varied = varied_tasks(results)
    rows = []
    for table in results:
        by_name = {_column(row): row for row in table.rows}
        best = max(row.measured for row in table.rows)
        cells = tuple(
            Cell(row.measured, row.measured == best, verdict(row)) if (row := by_name.get(name)) is not None else None
            for name in names
        )
        detail = short_variant(table.head) if table.head.task in varied else ""
        rows.append(GlanceRow(table.head.task, detail, table.head.metric, table.head.probe, cells))
    return Glance(tuple(names), tuple(rows))


def bars(table: ResultTable) -> list[tuple[TableRow, Bar]]:
    """Each row with its bar; the bars of a table share one axis, from zero (or a negative value) to the largest end."""
    ends = [end for row in table.rows for end in (row.measured, *(row.interval or ()))]
    low, high = max(min(0.0, *ends), LOWEST), max(*ends, 1e-9)

    def place(value: float) -> float:
        return round(100 * (min(max(value, low), high) - low) / (high - low), 2)

    placed = []
    for row in table.rows:
        start, end = sorted((place(0.0), place(row.measured)))
        first, last = (place(each) for each in row.interval or (row.measured, row.measured))
        placed.append((row, Bar(start, round(end - start, 2), first, round(last - first, 2), place(0.0))))
    return placed


def thumbnails(corpus: Corpus) -> list[Thumbnail]:
    """Some kept frames of the train split, small, the same at every call."""
    shown = []
    for clip, position in spread_frames(corpus, "train", THUMBNAILS):
        image = Image.fromarray(corpus.read(clip, [position])[0])
        image.thumbnail((THUMBNAIL_WIDTH, THUMBNAIL_WIDTH))
        file = io.BytesIO()
        image.save(file, format="JPEG", quality=82)
        shown.append(Thumbnail(data_address(file.getvalue()), clip.case_id))
    return shown


def drop_examples(drops: Iterable[Drop]) -> list[Drop]:
    """The first few drops of each reason."""
    kept: dict[str, list[Drop]] = {}
    for drop in drops:
        kept.setdefault(drop.reason, []).append(drop)
    return [drop for reason in sorted(kept) for drop in kept[reason][:DROP_EXAMPLES]]


def _column(row: TableRow) -> str:
    """Heading of a model: by role where there is one of it, teachers by name."""
    return row.model if row.role == "teacher" else row.role.replace("_", " ")

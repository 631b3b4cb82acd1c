"""The report of a checkpoint as one HTML page that needs nothing else and runs nothing."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from training.diagnostics.features import dense_of
from training.diagnostics.record import MADE_BY
from training.diagnostics.report import CONSTANT, RANDOM, STUDENT, Measured
from training.diagnostics.rows import Row
from training.report.charts import COLORS, REST, Chart, Interval, Line, interval_chart, line_chart
from training.report.dense_pca import compose, pca_colors
from training.report.pictures import data_address
from training.report.rendering import html_environment, render

TEMPLATE = "diagnosis.html.jinja"
_WORDS = {
    "rank_me": "RankMe",
    "effective_rank": "effective rank",
    "stable_rank": "stable rank",
    "alpha_req": "α-ReQ",
    "lidar": "LiDAR",
    "cka": "CKA",
    "mutual_knn": "mutual kNN",
    "pck": "PCK@0.1",
    "cycle_consistency": "cycle",
    "positional_leak": "positional leak",
    "outlier_tokens": "outlier tokens",
    "resolution_consistency": "cosine",
    "temporal_retrieval": "near in time",
    "same_video_retrieval": "same video, later",
    "explained_variance": "explained variance",
    "centered_cosine": "centered cosine",
}


@dataclass(frozen=True)
class TableLine:
    """A line of a table: its label, the model whose color it has, and a figure per column (`None`: not measured)."""

    label: str
    model: str
    cells: tuple[Row | None, ...]

    @property
    def is_student(self) -> bool:
        """Whether it stands out."""
        return self.model == STUDENT


@dataclass(frozen=True)
class Table:
    """Figures with models as lines.

    Attributes:
        title: "" for none.
        columns: headings.
        lines: of the table.
        chance: by column, what an ignorant model scores, as text; empty where no column has one.
        notes: why some figures are missing.
    """

    title: str
    columns: tuple[str, ...]
    lines: tuple[TableLine, ...]
    chance: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def report_page(record: dict[str, Any], measured: Measured) -> str:
    """The whole page as HTML; `record` is what `describe` made of what was `measured`."""
    rows, colors = measured.rows, _colors(measured)
    names = [each.name for each in measured.subjects]
    teachers = [each.name for each in measured.subjects if each.role == "teacher"]
    return render(
        html_environment(Path(__file__).parent),
        TEMPLATE,
        {
            "made_by": MADE_BY,
            "name": record["checkpoint"]["name"],
            "facts": _facts(record),
            "record": record,
            "colors": colors,
            "agreement": _agreement(rows, teachers, names),
            "agreement_charts": _agreement_charts(rows, teachers, colors),
            "total_loss": next((row for row in rows if row.measure == "frozen_target_loss"), None),
            "likeness": [
                table(f"with {name}", _pick(rows, ("cka", "mutual_knn"), teacher=name), names) for name in teachers
            ],
            "spread": [
                table(title, _pick(rows, measures, tokens=tokens), names)
                for title, tokens, measures in (
                    (
                        "one vector per frame",
                        "frame",
                        ("rank_me", "effective_rank", "stable_rank", "alpha_req", "lidar"),
                    ),
                    ("one dense token per frame", "dense", ("rank_me", "effective_rank", "stable_rank", "alpha_req")),
                )
            ],
            "spectrum": _spectrum(measured, colors),
            "correspondence": table(
                "a token finds its place in the warped frame",
                _pick(rows, ("pck",)),
                [*names, "positions alone", "a random match"],
            ),
            "correspondence_chart": _correspondence_chart(rows, colors),
            "cycle": table("and is found back from there", _pick(rows, ("cycle_consistency",)), names),
            "artefacts": table("", _pick(rows, ("positional_leak", "outlier_tokens")), names),
            "resolution": [
                table(title, _pick(rows, ("resolution_consistency",), tokens=tokens), names, by_scale=True)
                for title, tokens in (("one vector per frame", "frame"), ("dense tokens", "dense"))
            ],
            "time": table("", _pick(rows, ("temporal_retrieval", "same_video_retrieval", "drift")), names),
            "sphere": table("", _pick(rows, ("alignment", "uniformity")), names),
            "picture": picture(measured, record["settings"]["pictures"]),
            "settings": OmegaConf.to_yaml(OmegaConf.create(record["settings"])),
        },
    )


def table(title: str, rows: Sequence[Row], names: Sequence[str], *, by_scale: bool = False) -> Table:
    """Rows as a table with models in the order of `names`; a model without any row has no line."""

    def heading(row: Row) -> str:
        variant = row.variant.split(" (")[0] if by_scale else row.variant
        return ", ".join(part for part in (_WORDS.get(row.measure, row.measure), variant) if part)

    columns = tuple(dict.fromkeys(heading(row) for row in rows if row.value is not None))
    found = {(row.model, heading(row)): row for row in rows}
    lines = tuple(
        TableLine(name, name, tuple(found.get((name, column)) for column in columns))
        for name in names
        if any(row.model == name and row.value is not None for row in rows)
    )
    chances = {heading(row): f"{row.chance:.3f}" for row in rows if row.chance is not None}
    chance = tuple(chances.get(column, "") for column in columns) if any(c in chances for c in columns) else ()
    return Table(title, columns, lines, chance, _notes(rows, names))


def _notes(rows: Sequence[Row], names: Sequence[str]) -> tuple[str, ...]:
    """Why figures are missing; whose, unless it is everybody's."""
    missing: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.value is None and row.model not in missing.setdefault((row.measure, row.note), []):
            missing[row.measure, row.note].append(row.model)
    return tuple(
        f"{_WORDS.get(measure, measure)}{'' if len(models) == len(names) else ' of ' + ', '.join(models)}: {note}"
        for (measure, note), models in missing.items()
    )


def picture(measured: Measured, count: int) -> str | None:
    """Some held-out frames beside the main directions of each model's dense tokens, as a data address."""
    rows = measured.frames.spread(count)
    if not len(rows):
        return None
    images = [np.ascontiguousarray(measured.frames.images[row].permute(1, 2, 0).numpy()) for row in rows.tolist()]
    columns = {
        each.name: pca_colors([dense_of(measured.features[each.name])[row].numpy() for row in rows.tolist()])
        for each in measured.subjects
        if each.role != "histogram"
    }
    file = io.BytesIO()
    compose(images, columns).save(file, format="JPEG", quality=88)
    return data_address(file.getvalue())


def _facts(record: dict[str, Any]) -> list[tuple[str, str]]:
    checkpoint, frames = record["checkpoint"], record["frames"]
    return [
        ("step", "not recorded" if checkpoint["step"] is None else f"{checkpoint['step']:,} ({checkpoint['weights']})"),
        ("corpus", f"{record['corpus']['name']}, {record['corpus']['fingerprint'][:12]}"),
        ("held-out frames", f"{frames['held_out']:,} of {frames['videos']:,} videos"),
        (
            "probe frames",
            f"{frames['probe']:,} of {frames['probe_videos']:,} train videos" if frames["probe"] else "none",
        ),
        ("teachers", ", ".join(each["name"] for each in record["models"] if each["role"] == "teacher") or "none"),
        ("measured in", f"{record['seconds']:,.0f} s on {record['device']}"),
    ]


def _pick(rows: Sequence[Row], measures: Sequence[str], **facts: str) -> list[Row]:
    """Rows of some measures, in the order of the measures."""
    order = {name: number for number, name in enumerate(measures)}
    kept = [row for row in rows if row.measure in order and all(getattr(row, key) == facts[key] for key in facts)]
    return sorted(kept, key=lambda row: order[row.measure])


def _agreement(rows: Sequence[Row], teachers: Sequence[str], names: Sequence[str]) -> list[Table]:
    """A table per teacher and kind of token, with a line for every way from a model to the teacher."""
    measures = ("explained_variance", "centered_cosine", "loss")
    tables = []
    for teacher in teachers:
        for tokens in ("summary", "dense"):
            own = _pick(rows, (*measures, "head_minus_probe"), teacher=teacher, tokens=tokens)
            shown = [name for name in measures if any(row.measure == name for row in own)]
            found = {(row.model, row.variant, row.measure): row for row in own}
            lines = [
                TableLine(f"{model}, {way}", model, tuple(found.get((model, way, name)) for name in shown))
                for model in names
                for way in ("trained head", "ridge probe")
                if (model, way, "explained_variance") in found
            ]
            if gap := found.get((STUDENT, "", "head_minus_probe")):
                lines.insert(2, TableLine("head minus probe", STUDENT, (gap, *[None] * (len(shown) - 1))))
            if floor := found.get((CONSTANT, "", "loss")):
                lines.append(TableLine(CONSTANT, CONSTANT, (*[None] * (len(shown) - 1), floor)))
            if lines:
                columns = tuple(_WORDS.get(name, name) for name in shown)
                tables.append(Table(f"{teacher}, {tokens} tokens", columns, tuple(lines)))
    return tables


def _agreement_charts(rows: Sequence[Row], teachers: Sequence[str], colors: dict[str, str]) -> list[Chart]:
    charts = []
    for tokens in ("summary", "dense"):
        groups: dict[str, list[Interval]] = {}
        for teacher in teachers:
            for variant in ("trained head", "ridge probe"):
                own = [
                    _interval(row, colors)
                    for row in _pick(rows, ("explained_variance",), teacher=teacher, tokens=tokens, variant=variant)
                    if row.value is not None and row.model in colors
                ]
                if own:
                    groups[f"{teacher}\n{variant}"] = own
        if groups:
            title = f"Explained variance of {tokens} tokens"
            charts.append(interval_chart(title, "share; 0 is the constant predictor", groups, mark=0.0))
    return charts


def _correspondence_chart(rows: Sequence[Row], colors: dict[str, str]) -> Chart:
    groups: dict[str, list[Interval]] = {}
    for row in _pick(rows, ("pck",)):
        if row.value is not None and row.model in colors:
            groups.setdefault(row.variant, []).append(_interval(row, colors))
    return interval_chart("Correspondence", "share of tokens matched within 0.1 of the side", groups)


def _spectrum(measured: Measured, colors: dict[str, str]) -> Chart:
    lines = []
    for name, values in measured.spectra().items():
        kept = values[values > 1e-8]
        lines.append(Line(name, colors[name], list(range(1, len(kept) + 1)), kept.tolist()))
    return line_chart("Spectrum of the frame vectors", "direction, by its variance", lines, logarithmic=True)


def _interval(row: Row, colors: dict[str, str]) -> Interval:
    assert row.value is not None
    return Interval(colors[row.model], row.value, row.low, row.high)


def _colors(measured: Measured) -> dict[str, str]:
    """The student first, the random one gray."""
    names = [each.name for each in measured.subjects if each.name != RANDOM]
    colors = {name: COLORS[number % len(COLORS)] for number, name in enumerate(names)}
    return {each.name: colors.get(each.name, REST) for each in measured.subjects}

"""The report of a corpus as one HTML page that needs nothing else, asks for nothing and runs nothing."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from omegaconf import OmegaConf

from training.corpus.atomic import replacing
from training.corpus.clip_table import as_numpy
from training.corpus.corpus import SPLITS, Corpus
from training.corpus.manifest import CURATION_FILE, SHARD_FOLDER
from training.corpus.report.drops import Reason, read_examples, read_reasons, read_removed
from training.corpus.report.facts import ClipColumns, Group, group_by_list, group_by_text, read_columns
from training.corpus.report.pictures import (
    circle_samples,
    drop_thumbnails,
    duplicate_clusters,
    kept_samples,
    masked_samples,
)
from training.errors import UserError
from training.report.charts import COLORS, REST, Chart, Series, histogram
from training.report.output import refuse_other_file
from training.report.rendering import html_environment, render

TEMPLATE = "report.html.jinja"
MADE_BY = "training.corpus_report"
ROWS = 40  # of a table by procedure or source; the rest is one row
CASE_ROWS = SIZE_ROWS = 12
_FRAME_COLUMNS = ("luma", "sharpness")


@dataclass(frozen=True)
class Size:
    """Clips whose frames have one size."""

    width: int
    height: int
    cut_width: int  # of the source frame that is stored
    cut_height: int
    clips: int
    frames: int


def make_report(location: str, output: Path) -> None:
    """Write the report.

    Args:
        location: of the corpus, as `Corpus.open` takes it. Some of its frames are shown.
        output: HTML file; an earlier report is replaced.

    Raises:
        UserError: the corpus is missing or broken, or `output` is a folder or another file. Nothing is written then.
    """
    refuse_other_file(output, MADE_BY)
    page = report_page(Corpus.open(location))
    output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(output) as temporary:
        temporary.write_text(page, encoding="utf-8")


def report_page(corpus: Corpus) -> str:
    """The whole page as HTML."""
    with corpus.storage.reading(CURATION_FILE, "curate this corpus anew, or copy it completely"):
        record: dict[str, Any] = json.loads(corpus.storage.read_bytes(CURATION_FILE).decode("utf-8"))
    columns = read_columns(corpus)
    sources = group_by_text(corpus, columns, "source")
    licences = group_by_text(corpus, columns, "licence", "source")
    reasons = read_reasons(corpus.storage)
    examples = read_examples(corpus.storage)
    masks, masked_clips = masked_samples(corpus)
    confidence = corpus.manifest.column("fov_confidence")
    return render(
        html_environment(Path(__file__).parent),
        TEMPLATE,
        {
            "made_by": MADE_BY,
            "name": corpus.name,
            "facts": summary(corpus, columns, sources, licences, record),
            "splits": [(split, corpus.count(split)) for split in SPLITS],
            "epoch": float(columns.drawn.sum()),
            "train_frames": int(columns.drawable[columns.train].sum()),
            "left_out": int((columns.frames - columns.drawable).sum()),
            "balance": record["settings"].get("balance", {}),
            "groups": [
                ("procedure", *_longest(group_by_list(corpus, columns, "procedures", "not recorded"))),
                ("source", *_longest(sources)),
                ("case", *_longest(group_by_text(corpus, columns, "case_id"), CASE_ROWS)),
            ],
            "case_chart": _case_chart(columns),
            "sampled": record["counts"].get("frames_sampled"),
            "kept": int(columns.frames.sum()),
            "reasons": reasons,
            "drop_charts": _drop_charts(reasons or []),
            "examples": {reason: drop_thumbnails(examples.get(reason, [])) for reason in examples},
            "samples": kept_samples(corpus),
            "colors": _source_colors(sources),
            "frame_charts": _frame_charts(corpus, sources),
            "duplicates": duplicate_clusters(corpus),
            "sizes": _sizes(corpus),
            "size_rows": SIZE_ROWS,
            "circle_chart": _circle_chart(confidence),
            "circle_pictures": circle_samples(corpus),
            "circles": len(confidence) - confidence.null_count,
            "clips": len(corpus.manifest),
            "masks": masks,
            "masked_clips": masked_clips,
            "overlaps": group_by_list(corpus, columns, "overlaps", "")[:ROWS],
            "possible": record.get("overlaps", {}).get("possible", {}),
            "licences": licences[:ROWS],
            "removed": read_removed(corpus.storage),
            "settings": OmegaConf.to_yaml(OmegaConf.create(record["settings"])),
            "code": record.get("code", {}),
            "fingerprint": corpus.fingerprint,
        },
    )


def summary(
    corpus: Corpus, columns: ClipColumns, sources: Sequence[Group], licences: Sequence[Group], record: dict[str, Any]
) -> list[tuple[str, str]]:
    """The few figures at the head of the page."""
    hours = float(columns.seconds.sum()) / 3600
    counted = [corpus.count(split) for split in SPLITS]
    return [
        ("frames kept", f"{columns.frames.sum():,}"),
        ("video that they cover", f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"),
        ("cases", f"{sum(each.cases for each in counted):,}"),
        ("videos", f"{sum(each.videos for each in counted):,}"),
        ("clips", f"{len(columns.frames):,}"),
        ("sources", f"{len(sources):,}"),
        ("licences", f"{len({group.name for group in licences}):,}"),
        ("fingerprint", corpus.fingerprint[:12]),
        ("schema", str(record.get("schema_version", "not recorded"))),
    ]


def _longest(groups: list[Group], rows: int = ROWS) -> tuple[list[Group], Group | None]:
    """The first groups, and the rest as one."""
    shown, rest = groups[:rows], groups[rows:]
    if not rest:
        return shown, None
    sums = [sum(getattr(group, name) for group in rest) for name in ("clips", "frames", "train_frames", "drawn")]
    return shown, Group(f"{len(rest):,} more", "", sums[0], 0, *sums[1:])


def _case_chart(columns: ClipColumns) -> Chart | None:
    frames = np.bincount(columns.cases, columns.frames) if len(columns.cases) else np.zeros(0)
    if not len(frames):
        return None
    return histogram("Cases by their frames", "frames of a case", [Series("cases", COLORS[0], frames)])


def _source_colors(sources: Sequence[Group]) -> dict[str, str]:
    """A color for each of the largest sources, the rest share one."""
    colors = {group.name: COLORS[number] for number, group in enumerate(sources[: len(COLORS)])}
    return colors | ({"other sources": REST} if len(sources) > len(COLORS) else {})


def _frame_charts(corpus: Corpus, sources: Sequence[Group]) -> list[Chart]:
    """Luma and sharpness of all stored frames, colored by source."""
    if not len(corpus.manifest):
        return []
    colors = _source_colors(sources)
    rest = colors.get("other sources", REST)
    values, owners = _frame_values(corpus)
    names = corpus.manifest.column("source").to_pylist()
    shades = np.array([colors.get(name or "not recorded", rest) for name in names])
    of_frame = shades[owners]
    charts = []
    for title, axis, logarithmic, own in (
        ("Luminance", "mean gray level of a frame, 0 to 255", False, values[0]),
        ("Sharpness", "variance of the Laplacian, gray levels squared", True, values[1]),
    ):
        series = [Series(label, color, own[of_frame == color]) for label, color in colors.items()]
        charts.append(histogram(title, axis, series, logarithmic=logarithmic))
    return charts


def _frame_values(corpus: Corpus) -> tuple[list[np.ndarray], np.ndarray]:
    """Luma and sharpness, float32 (F,) each, and the clip of each frame, int64 (F,); other columns are not read."""
    shards = corpus.manifest.column("shard").to_pylist()
    firsts, lengths = corpus.manifest.numbers("shard_row"), corpus.manifest.numbers("num_frames")
    by_shard: dict[str, list[int]] = {}
    for row, shard in enumerate(shards):
        by_shard.setdefault(shard, []).append(row)
    values: list[list[np.ndarray]] = [[] for _ in _FRAME_COLUMNS]
    owners = []
    for shard, rows in by_shard.items():
        name = f"{SHARD_FOLDER}/{shard}"
        with corpus.storage.reading(name, "copy the corpus completely"):
            table = corpus.storage.parquet(name).read(list(_FRAME_COLUMNS), use_threads=False)
        clips = np.array(rows)
        counts = lengths[clips].astype(np.int64)
        # Rows of the shard, clip after clip: a removed case may have left its rows to nobody.
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        places = np.repeat(firsts[clips], counts) + within
        if len(places) and int(places.max()) >= len(table):
            raise UserError(
                f"{name} has {len(table)} rows, the manifest of {corpus.storage.shown!r} points to row "
                f"{int(places.max())}: shard and manifest do not belong together"
            )
        for own, column in zip(values, _FRAME_COLUMNS, strict=True):
            own.append(as_numpy(pc.fill_null(table[column], float("nan")))[places])
        owners.append(np.repeat(clips, counts))
    return [np.concatenate(own) for own in values], np.concatenate(owners)


def _drop_charts(reasons: Sequence[Reason]) -> list[Chart]:
    """Scores of what was dropped, with the threshold where there is one for all."""
    charts = []
    for reason in reasons:
        if not len(reason.scores):
            continue
        low, high = reason.thresholds or (None, None)
        title = f"Dropped as {reason.name.replace('_', ' ')}"
        series = [Series(reason.name, COLORS[1], reason.scores, reason.weights)]
        charts.append(histogram(title, "score", series, mark=low if low == high else None))
    return charts


def _circle_chart(confidence: Any) -> Chart | None:
    values = as_numpy(pc.drop_null(confidence))
    if not len(values):
        return None
    return histogram("Circle of the endoscope", "confidence, 0 to 1, by clip", [Series("clips", COLORS[2], values)])


def _sizes(corpus: Corpus) -> list[Size]:
    """Stored sizes and the size in the source that they were cut from, most frames first."""
    read = {
        name: corpus.manifest.numbers(name).astype(np.int64)
        for name in ("width", "height", "crop_left", "crop_right", "crop_top", "crop_bottom", "num_frames")
    }
    keys = np.stack(
        [
            read["width"],
            read["height"],
            read["crop_right"] - read["crop_left"],
            read["crop_bottom"] - read["crop_top"],
        ]
    )
    kinds, codes = np.unique(keys, axis=1, return_inverse=True)
    codes = codes.reshape(-1)
    clips, frames = np.bincount(codes), np.bincount(codes, read["num_frames"])
    sizes = [
        Size(width, height, cut_width, cut_height, int(clips[code]), int(frames[code]))
        for code, (width, height, cut_width, cut_height) in enumerate(kinds.T.tolist())
    ]
    return sorted(sizes, key=lambda size: (-size.frames, size.width, size.height))

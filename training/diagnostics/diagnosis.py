"""The diagnosis of a checkpoint: open, measure, write diagnosis.json and diagnosis.html."""

import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelerate import PartialState

from training.corpus import Corpus
from training.diagnostics.checkpoint import locate, open_checkpoint
from training.diagnostics.record import MADE_BY, describe
from training.diagnostics.report import measure
from training.diagnostics.settings import DiagnoseSettings
from training.errors import UserError
from training.report.output import refuse_other_file
from training.run_folder import write_atomic, write_json

JSON_FILE, PAGE_FILE = "diagnosis.json", "diagnosis.html"
# Measures and tokens of the table that is printed.
_SHOWN = (
    ("rank_me", "frame"),
    ("effective_rank", "frame"),
    ("positional_leak", "dense"),
    ("pck", "dense"),
    ("resolution_consistency", "frame"),
    ("temporal_retrieval", "frame"),
    ("explained_variance", "summary"),
    ("explained_variance", "dense"),
)


def diagnose(
    checkpoint: Path, corpus_location: str, output: Path, settings: DiagnoseSettings, *, teachers: bool = True
) -> dict[str, Any]:
    """Measure a checkpoint and write what was found.

    Args:
        checkpoint: a run folder, one of its checkpoints, or a ZEN model folder.
        corpus_location: as `Corpus.open` takes it; held-out videos are measured.
        output: folder; an earlier diagnosis inside is replaced.
        settings: of the measurement.
        teachers: whether to measure what needs teachers.

    Returns:
        The record, as it is in diagnosis.json.

    Raises:
        UserError: a checkpoint, teacher or corpus that cannot be used, or an output that holds other files of these
            names. Nothing is written then.
    """
    started = time.perf_counter()
    missing = [name for name in ("jinja2", "matplotlib") if find_spec(name) is None]
    if missing:
        raise UserError(f"the report needs {' and '.join(missing)}: pip install {' '.join(missing)}")
    from training.diagnostics.page import report_page

    if output.is_file():
        raise UserError(f"output {str(output)!r} is a file: name a folder")
    refuse_other_file(output / PAGE_FILE, MADE_BY)
    if (output / JSON_FILE).exists() and not (output / PAGE_FILE).exists():
        raise UserError(f"output {str(output / JSON_FILE)!r} exists and is no diagnosis: choose another folder")
    located, corpus, device = locate(checkpoint), Corpus.open(corpus_location), PartialState().device
    opened = open_checkpoint(located, settings.teachers, corpus, device, teachers=teachers)
    measured = measure(opened, corpus, settings, device)
    record = describe(opened, corpus, settings, measured, time.perf_counter() - started, device)
    page = report_page(record, measured)
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / JSON_FILE, record)
    write_atomic(output / PAGE_FILE, page)
    return record


def main_figures(record: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The main figures of a record: by label of the line, then by model that has one."""
    lines: dict[str, dict[str, float]] = {}
    for row in record["measures"]:
        if (row["measure"], row.get("tokens")) in _SHOWN and row["value"] is not None:
            size_free = row.get("variant", "").split(" (")[0]  # models differ in the pixels that a scale means
            words = (row["measure"], row.get("tokens"), row.get("teacher"), size_free)
            lines.setdefault(", ".join(word for word in words if word), {})[row["model"]] = row["value"]
    return lines


def result_table(record: dict[str, Any]) -> str:
    """The main figures, models as columns, to print."""
    names = [model["name"] for model in record["models"]]
    lines = main_figures(record)
    width = max([len(label) for label in lines] + [0])
    columns = [max(len(name), 8) for name in names]
    table = [" " * width + "".join(f"  {name:>{size}}" for name, size in zip(names, columns, strict=True))]
    for label, values in lines.items():
        cells = [f"{values[name]:.3f}" if name in values else "-" for name in names]
        table.append(
            f"{label:<{width}}" + "".join(f"  {cell:>{size}}" for cell, size in zip(cells, columns, strict=True))
        )
    return "\n".join(table)

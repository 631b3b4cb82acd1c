"""The list of tasks for the command line: family, dataset, licence, where to get it, and where the data was found."""

from pathlib import Path

from evaluation.runner import BenchmarkSettings, check_sources
from evaluation.tasks import TASKS

_HEADINGS = ("task", "family", "probes", "data", "licence", "obtain", "found in")


def list_tasks(data_roots: tuple[Path, ...], corpus: Path | None) -> str:
    """An aligned table of every task; the last column names the folder or says "not found"."""
    sources = check_sources(BenchmarkSettings(model="", output=Path(), data_roots=data_roots, corpus=corpus))
    rows = [_HEADINGS]
    for task in (TASKS.get(name) for name in TASKS.names()):
        home = task.find(sources)
        found = str(home) if home else "not found"
        rows.append((task.name, task.family, ", ".join(task.probes), task.source, task.licence, task.obtain, found))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)

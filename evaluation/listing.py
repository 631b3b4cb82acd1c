"""What `--list` shows: every task, where its data comes from and whether it was found, and the peers."""

from collections.abc import Sequence
from pathlib import Path

from evaluation.backbones.peers import PEERS
from evaluation.runner import BenchmarkSettings, check_sources
from evaluation.tasks import TASKS
from training.errors import UserError

_HEADINGS = ("task", "family", "probes", "data", "licence", "obtain", "found in")


def list_tasks(data_roots: tuple[Path, ...], corpus: Path | None) -> str:
    """An aligned table of every task, its last column the folder or "not found", and one of the peers."""
    sources = check_sources(BenchmarkSettings(model="", output=Path(), data_roots=data_roots, corpus=corpus))
    rows: list[tuple[str, ...]] = [_HEADINGS]
    for task in (TASKS.get(name) for name in TASKS.names()):
        try:
            home = task.find(sources)
            found = str(home) if home else "not found"
        except UserError as error:  # two places; the other tasks are listed all the same
            found = str(error)
        rows.append((task.name, task.family, ", ".join(task.probes), task.source, task.licence, task.obtain, found))
    peers = [("peer", "architecture", "licence of its weights", "pretrained on", "file")]
    for peer in (PEERS.get(name) for name in PEERS.names()):
        peers.append((peer.name, peer.architecture, peer.weights_licence, peer.pretrained_on, peer.source))
    return f"{_aligned(rows)}\n\n{_aligned(peers)}"


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)

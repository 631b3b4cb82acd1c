"""The task of curation: one unit, done by any process on any machine that sees the input and the output folder.

A task reads its unit's files and writes one folder in `OUT/journal/work`, which appears there in one rename. What it
holds depends on the files and settings only, so it does not matter who did the task, when, or whether two did it.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from training.corpus.decoder_process import DecoderProcess
from training.corpus.settings import LABELS, CurationSettings
from training.corpus.sources import Unit
from training.corpus.staged import IMAGES_FILE
from training.corpus.unit import curate_unit, give_up_unit

ATTEMPTS = 3  # workers that a unit may cost before it is given up: one may die of a neighbour's hunger for memory


@dataclass(frozen=True)
class Task:
    """One unit to curate; it can be pickled."""

    unit: Unit
    settings: CurationSettings
    folder: Path  # gets the outcome
    replaced: bool  # the files had other content in an earlier run

    @property
    def finished(self) -> bool:
        """Whether the outcome is there."""
        return self.folder.exists()

    @property
    def num_bytes(self) -> int:
        """Size on disk of the frames in the outcome, the dropped ones included."""
        spool = self.folder / IMAGES_FILE
        return spool.stat().st_size if spool.exists() else 0

    def run(self, decoder: DecoderProcess, advance: Callable[[int, float], None]) -> None:
        """Curate the unit. `advance` is told the number of frames and of source bytes just done."""
        curate_unit(self.unit, self.settings, decoder, self.folder, replaced=self.replaced, advance=advance)

    def give_up(self, detail: str) -> None:
        """Record that the unit's workers died of it: all its files are dropped with this detail."""
        give_up_unit(self.unit, self.settings, self.folder, replaced=self.replaced, detail=detail)


Progress = Callable[[Task, int, float], None]  # told the task and the number of frames and source bytes just done


class Engine(Protocol):
    """Does tasks, several at a time. Use as a context manager; leaving it ends whatever is still running."""

    @property
    def workers(self) -> int:
        """How many tasks it can do at a time."""
        ...

    def __enter__(self) -> "Engine": ...

    def __exit__(self, *_: object) -> None: ...

    def submit(self, task: Task) -> None:
        """Take on a task; the caller has at most `workers` of them running."""
        ...

    def wait(self, progress: Progress) -> list[Task]:
        """Tasks that have been finished since; waits for at least a sign of life.

        Raises:
            UserError: a mistake of the user that a task met.
            OSError: what a task met when it wrote its outcome, such as a full disk.
            RuntimeError: a bug of ours in a task, with its traceback.
        """
        ...


def task_folder(work: Path, unit: Unit, settings: CurationSettings) -> Path:
    """Where the outcome of a unit goes. Another name as soon as a file, a label or the case is another."""
    labels = [asdict(file.labels) for file in unit.files]
    said = [getattr(settings, name) for name in LABELS]
    facts = json.dumps([unit.key, unit.case_id, unit.folder_split, labels, said])
    return work / hashlib.sha256(facts.encode()).hexdigest()[:24]

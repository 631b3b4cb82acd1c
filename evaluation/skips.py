"""The skip list beside a results file: what was asked of the benchmark and not measured, and why."""

import dataclasses
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from training.errors import UserError


@dataclass(frozen=True)
class Skip:
    """One measurement that was left out.

    Attributes:
        task: name of the task; "" if all were left out.
        protocol: name of the protocol; "" if the task was left out as a whole.
        probe: name of the probe; "" if the protocol was left out as a whole.
        model: name of the model; "" if all were left out.
        reason: one sentence.
        created: time in ISO 8601.
    """

    task: str
    protocol: str
    probe: str
    model: str
    reason: str
    created: str

    @property
    def place(self) -> tuple[str, str, str, str]:
        """What was left out; a later run that leaves it out again says the same of it."""
        return self.task, self.protocol, self.probe, self.model


def skips_path(results: Path) -> Path:
    """The skip list of a results file: `results.jsonl` -> `results.skipped.jsonl`."""
    return results.with_name(f"{results.stem}.skipped.jsonl")


def append_skips(results: Path, skips: Iterable[Skip]) -> None:
    """Append to the skip list of a results file, each entry by one write, then force them to disk."""
    lines = [(json.dumps(dataclasses.asdict(skip)) + "\n").encode() for skip in skips]
    if not lines:
        return
    path = skips_path(results)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        for line in lines:
            if os.write(handle, line) != len(line):
                raise OSError(f"skip list {str(path)!r}: the disk took only part of a line")
        os.fsync(handle)
    finally:
        os.close(handle)


def read_skips(results: Path) -> list[Skip]:
    """The skip list of a results file, the latest entry for each place; none if there is no list.

    Raises:
        UserError: a line that is no entry, by number.
    """
    path = skips_path(results)
    if not path.exists():
        return []
    names = {field.name for field in dataclasses.fields(Skip)}
    latest: dict[tuple[str, ...], Skip] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        try:
            content = json.loads(line)
        except ValueError:
            content = None
        if not isinstance(content, dict) or content.keys() != names or not _all_text(content):
            raise UserError(
                f"line {number} of skip list {str(path)!r} is no object of the texts {', '.join(sorted(names))}; "
                "remove it"
            )
        skip = Skip(**content)
        latest[skip.place] = skip
    return list(latest.values())


def _all_text(content: dict[str, object]) -> bool:
    return all(isinstance(value, str) for value in content.values())

"""What the search for leakage found: one line each, a verdict and an exit code, and the same as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from training.corpus.atomic import replacing

SCHEMA_VERSION = 1
LEAK, CLEAN, UNCHECKED = 1, 0, 2  # exit codes; the last where nothing leaks but a dataset could not be read
SHOWN = 3  # pairs of files or cases in a printed line; the JSON has all

Kind = Literal[
    "case on two sides",
    "val equals test",
    "identical files",
    "near-duplicate frames",
    "same operation",
    "same operation in another dataset",
    "test file in the corpus",
    "test case in the corpus",
]
BETWEEN: Kind = "same operation in another dataset"  # leaks only where one dataset is trained on, the other tested


@dataclass(frozen=True)
class Finding:
    """One leak.

    Attributes:
        kind: what was found.
        dataset: where, by name.
        message: which sides and cases.
        pairs: what belongs together: files or cases, the training side first.
    """

    kind: Kind
    dataset: str
    message: str
    pairs: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        shown = ", ".join(f"{one!r} = {other!r}" for one, other in self.pairs[:SHOWN])
        more = f" and {len(self.pairs) - SHOWN} more" if len(self.pairs) > SHOWN else ""
        return f"{self.kind}: {self.dataset}: {self.message}" + (f": {shown}{more}" if shown else "")


@dataclass(frozen=True)
class Checked:
    """A dataset that was read: cases on each side of the split that was checked."""

    dataset: str
    root: str
    split: str
    train: int
    val: int
    test: int


@dataclass(frozen=True)
class Report:
    """Everything that was looked at.

    Attributes:
        checked: datasets that were read.
        findings: what leaks.
        unread: by dataset, why it could not be read.
        transfer: whether one dataset may be trained on and another tested, so that what they share leaks.
    """

    checked: Sequence[Checked]
    findings: Sequence[Finding]
    unread: Sequence[tuple[str, str]]
    transfer: bool = True

    @property
    def leaks(self) -> list[Finding]:
        """The findings that count."""
        return [finding for finding in self.findings if self.transfer or finding.kind != BETWEEN]

    @property
    def exit_code(self) -> int:
        """1 when something leaks, 2 when nothing does but a dataset could not be read, 0 otherwise."""
        if self.leaks:
            return LEAK
        return UNCHECKED if self.unread else CLEAN

    @property
    def verdict(self) -> str:
        """In one sentence."""
        count, places = len(self.leaks), len({finding.dataset for finding in self.leaks})
        found = f"{count} leak{'s' * (count > 1)} in {places} of" if count else "no leak found in"
        names = {entry.dataset for entry in self.checked} | {name for name, _ in self.unread}
        unread = f"; {len(self.unread)} could not be read" if self.unread else ""
        between = len(self.findings) - count
        ignored = f"; {between} between datasets not counted" if between else ""
        return f"{found} {len(names)} dataset{'s' * (len(names) > 1)}{unread}{ignored}"

    def to_text(self) -> str:
        """Datasets, errors, findings and the verdict, one a line."""
        lines = [
            f"read: {entry.dataset}: split {entry.split}, {entry.train} train, {entry.val} val and {entry.test} test "
            f"cases in {entry.root!r}"
            for entry in self.checked
        ]
        lines += [f"not read: {dataset}: {reason}" for dataset, reason in self.unread]
        lines += [str(finding) for finding in self.findings]
        return "\n".join([*lines, f"verdict: {self.verdict}"])

    def write(self, path: Path) -> None:
        """The report as JSON, atomically."""
        content = {
            "schema_version": SCHEMA_VERSION,
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "transfer": self.transfer,
            "datasets": [asdict(entry) for entry in self.checked],
            "not_read": [{"dataset": dataset, "reason": reason} for dataset, reason in self.unread],
            "findings": [asdict(finding) for finding in self.findings],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

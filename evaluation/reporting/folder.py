"""The folder that a report is written to: an earlier report may be replaced, nothing else; whole or not at all."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from training.errors import UserError
from training.report.output import refuse_other_file

MADE_BY = "evaluation.report"
PAGE = "report.html"
FIGURES = "figures"
_FILES = {PAGE, "report.md", "table.csv"}


def check_target(output: Path) -> None:
    """Raise `UserError` unless `output` is absent, empty or an earlier report."""
    if not output.exists():
        return
    if not output.is_dir():
        raise UserError(f"--output {str(output)!r} is a file; name a folder")
    present = [path.relative_to(output) for path in sorted(output.rglob("*")) if not path.is_dir()]
    if not present:
        return
    odd = [path for path in present if path.as_posix() not in _FILES and _is_no_figure(path)]
    if odd or Path(PAGE) not in present:
        what = f"holds {odd[0].as_posix()!r}" if odd else "is not empty"
        raise UserError(f"--output {str(output)!r} {what} and is no report of this command: name another folder")
    refuse_other_file(output / PAGE, MADE_BY)


def write_folder(output: Path, contents: Mapping[str, str]) -> None:
    """Put a folder with these texts, by their path in it, in the place of `output`."""
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        new = temporary / "new"
        for name, text in contents.items():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).write_text(text, encoding="utf-8")
        if output.exists():
            output.rename(temporary / "old")
        try:
            new.rename(output)
        except OSError:
            if (temporary / "old").exists():
                (temporary / "old").rename(output)
            raise
    finally:
        shutil.rmtree(temporary)


def _is_no_figure(path: Path) -> bool:
    return len(path.parts) != 2 or path.parts[0] != FIGURES or path.suffix != ".svg"

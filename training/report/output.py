"""The file that a page is written to: an earlier page of the same command may be replaced, nothing else."""

from pathlib import Path

from training.errors import UserError

_HEAD = 200  # bytes in which page.html.jinja says what made the page


def refuse_other_file(output: Path, made_by: str) -> None:
    """Raise `UserError` unless `output` is absent or an earlier page of the command `made_by`."""
    if output.is_dir():
        raise UserError(f"output {str(output)!r} is a folder: name a file that ends in .html")
    if output.exists():
        with output.open("rb") as file:
            if f"<!-- made by {made_by} -->".encode() not in file.read(_HEAD):
                raise UserError(f"output {str(output)!r} exists and is no report of this command: choose another name")

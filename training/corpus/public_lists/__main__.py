"""Write the source manifest of a public list: `python -m training.corpus.public_lists LIST FILE FOLDER`."""

import argparse
import json
import os
from pathlib import Path

from training.corpus.atomic import replacing
from training.corpus.public_lists.lists import LISTS
from training.errors import UserError, run_entry

SHOWN = 5  # missing or unlisted names that are printed


def main() -> None:
    """Match, write the manifest, and print how many entries have a file."""
    parser = argparse.ArgumentParser(
        prog="python -m training.corpus.public_lists",
        description="Match the videos or frames that you have of a public list to its labels. Nothing is fetched.",
    )
    parser.add_argument("list", metavar="LIST", help=", ".join(LISTS.names()))
    parser.add_argument("file", type=Path, metavar="FILE", help="the published list: labels.json, a folder, ...")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="your files of it, at any depth")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="where the manifest goes; default FOLDER/LIST.jsonl"
    )
    options = parser.parse_args()
    match_list = LISTS.get(options.list)
    if not options.folder.is_dir():
        raise UserError(f"folder {str(options.folder)!r} does not exist: give the folder of your files")
    files = [
        (Path(parent) / name).relative_to(options.folder).as_posix()
        for parent, _, names in os.walk(options.folder)
        for name in names
    ]
    match = match_list(options.file, files)
    output = options.output or options.folder / f"{options.list}.jsonl"
    missing = f"{len(match.missing)} entries of the list without a file{_some(match.missing)}"
    print(f"{len(match.rows)} files matched, {missing}")
    print(f"{len(match.unlisted)} files that the list does not name, or names again, left out{_some(match.unlisted)}")
    if not match.rows:
        raise UserError(f"no file in {str(options.folder)!r} is named in {str(options.file)!r}: nothing was written")
    with replacing(output) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in match.rows), encoding="utf-8")
    root = "" if output.parent.resolve() == options.folder.resolve() else f" root={options.folder}"
    print(f"manifest: {output}  (python -m training.curate {output} OUT{root})")


def _some(names: list[str]) -> str:
    more = ", ..." if len(names) > SHOWN else ""
    return f" ({', '.join(names[:SHOWN])}{more})" if names else ""


if __name__ == "__main__":
    run_entry(main)

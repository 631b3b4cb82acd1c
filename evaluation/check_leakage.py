"""The leakage check: is anything that is tested on also trained on, in datasets or in a pretraining corpus?

python -m evaluation.check_leakage --data-root DIR [DIR ...] [--corpus DIR] [--near-duplicates] [--json FILE]

Exit code 1 when something leaks, 2 when nothing does but a dataset could not be read, 0 otherwise.
"""

import argparse
from pathlib import Path

from evaluation.command import Parser
from training.errors import run_entry


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, `sys.argv` by default."""
    parser = Parser(prog="python -m evaluation.check_leakage", description=__doc__)
    parser.add_argument("--data-root", metavar="DIR", nargs="+", type=Path, required=True, help="folders with datasets")
    parser.add_argument("--corpus", metavar="DIR", type=Path, help="pretraining corpus that must hold no test case")
    parser.add_argument(
        "--near-duplicates", action="store_true", help="decode and compare frames too, which takes long"
    )
    parser.add_argument(
        "--ignore-transfer", action="store_true", help="do not count what two datasets share: none is tested on another"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write everything that was found")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run the command; leaves with the exit code of the report where it is not 0."""
    options = parse(arguments)
    from evaluation.leakage.check import check_leakage  # after parsing: a typo should not wait for imports
    from training.corpus import Corpus

    report = check_leakage(
        options.data_root,
        Corpus.open(options.corpus) if options.corpus else None,
        pictures=options.near_duplicates,
        transfer=not options.ignore_transfer,
    )
    print(report.to_text())
    if options.json:
        report.write(options.json)
        print(f"report: {options.json}")
    if report.exit_code:
        raise SystemExit(report.exit_code)


if __name__ == "__main__":
    run_entry(main)

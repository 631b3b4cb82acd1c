"""Make the report of benchmark results: tables, paired comparisons, ranks and plots, as HTML, Markdown and CSV.

python -m evaluation.report runs/demo/results.jsonl --output runs/demo/report
"""

import argparse
from pathlib import Path

from evaluation.command import Parser
from training.errors import run_entry


def main(arguments: list[str] | None = None) -> None:
    """Check everything, then write the folder."""
    options = parse(arguments)
    from evaluation.reporting.report import make_report  # after parsing: a typo should not wait for these imports

    make_report(options.results, options.output)
    print(f"the report is {options.output / 'report.html'}: open it in a browser")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, `sys.argv` by default."""
    parser = Parser(prog="python -m evaluation.report", description=__doc__)
    parser.add_argument(
        "results", type=Path, nargs="+", metavar="RESULTS", help="results files of evaluation.benchmark"
    )
    parser.add_argument("--output", type=Path, metavar="FOLDER", required=True, help="folder to write")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_entry(main)

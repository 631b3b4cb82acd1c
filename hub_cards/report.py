"""Make the report of a run: one HTML file with its results, curves, pictures and corpus, that needs nothing else.

python -m hub_cards.report runs/demo/pretrain runs/demo/results.jsonl --corpus runs/demo/corpus --hub runs/demo/hub \
    --output runs/demo/report.html
"""

import argparse
from pathlib import Path

from evaluation.command import Parser
from training.errors import run_entry


def main(arguments: list[str] | None = None) -> None:
    """Check everything, then write the file."""
    options = parse(arguments)
    from hub_cards.report_page import make_report  # after parsing: a typo should not wait for the imports of torch

    make_report(options.run, options.results, options.corpus, options.hub, options.output)
    print(f"the report is {options.output}: open it in a browser")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, `sys.argv` by default."""
    parser = Parser(prog="python -m hub_cards.report", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder of training.pretrain")
    parser.add_argument("results", type=Path, metavar="RESULTS", help="results file of evaluation.benchmark")
    parser.add_argument(
        "--corpus", type=Path, metavar="DIR", required=True, help="the run's corpus; frames of it are shown"
    )
    parser.add_argument("--hub", type=Path, metavar="HUB", required=True, help="folder that hub_cards.card wrote")
    parser.add_argument("--output", type=Path, metavar="FILE", required=True, help="HTML file to write")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_entry(main)

"""Make the Hub folder of a run: the model with its code, and a model card whose figures all come from records.

python -m hub_cards.card runs/demo/pretrain runs/demo/results.jsonl --corpus runs/demo/corpus --output runs/demo/hub
"""

import argparse
from pathlib import Path

from evaluation.command import Parser
from training.errors import UserError, run_entry


def main(arguments: list[str] | None = None) -> None:
    """Check everything, then write the folder."""
    options = parse(arguments)
    if options.teacher is not None and options.corpus is None:
        raise UserError("--teacher is for the picture of held-out frames, which needs --corpus")
    from hub_cards.assembly import make_hub_folder  # after parsing: a typo should not wait for the imports of torch

    make_hub_folder(
        options.run,
        options.results,
        options.output,
        corpus=options.corpus,
        teacher=options.teacher,
        diagnosis=options.diagnosis,
        benchmark_owner=options.benchmark_owner,
    )
    print(f"the model and its card are in {options.output}: read {options.output / 'README.md'} before you publish it")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, `sys.argv` by default."""
    parser = Parser(prog="python -m hub_cards.card", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder of training.pretrain")
    parser.add_argument("results", type=Path, metavar="RESULTS", help="results file of evaluation.benchmark")
    parser.add_argument("--output", type=Path, metavar="HUB", required=True, help="folder to write")
    parser.add_argument(
        "--corpus",
        type=Path,
        metavar="DIR",
        help="the run's corpus: adds its summary and a picture that SHOWS held-out frames (mind their privacy)",
    )
    parser.add_argument(
        "--teacher", metavar="NAME", help="a teacher of the run (name, Hub id or folder) for the picture"
    )
    parser.add_argument(
        "--diagnosis", type=Path, metavar="FILE", help="diagnosis.json of training.diagnose, about RUN/hub"
    )
    parser.add_argument(
        "--benchmark-owner", metavar="OWNER", help="who keeps the benchmarks' data sets on the Hub, for .eval_results"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_entry(main)

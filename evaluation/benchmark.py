"""The benchmark command: measure a ZEN model beside its floors and teachers, append records, print the tables.

python -m evaluation.benchmark --model runs/demo/hub --teachers A B --tasks found --data-root DIR --output results.jsonl
"""

import argparse
from pathlib import Path

from evaluation.command import Parser
from training.errors import UserError, run_entry


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, `sys.argv` by default."""
    parser = Parser(prog="python -m evaluation.benchmark", description=__doc__)
    parser.add_argument("--model", metavar="FOLDER|ID", help="the ZEN model: a folder or a Hub id")
    parser.add_argument("--output", metavar="FILE", type=Path, help="results file (JSON lines), appended to")
    parser.add_argument(
        "--tasks", metavar="NAME", nargs="+", default=["found"], help="task names; found = all with data"
    )
    parser.add_argument("--teachers", metavar="NAME", nargs="*", default=[], help="teacher names, Hub ids or folders")
    parser.add_argument("--protocols", metavar="NAME", nargs="+", default=["frozen"], help="only frozen so far")
    parser.add_argument("--data-root", metavar="DIR", nargs="+", type=Path, default=[], help="folders with datasets")
    parser.add_argument(
        "--corpus", metavar="DIR", type=Path, help="pretraining corpus: teacher agreement, overlap count"
    )
    parser.add_argument("--image-size", metavar="PIXELS", type=int, default=224, help="side of the square frames (224)")
    parser.add_argument("--seed", type=int, default=0, help="of random init, bootstrap and draws (0)")
    parser.add_argument("--memory-limit", metavar="GB", type=float, default=16.0, help="for stored features (16)")
    parser.add_argument("--list", action="store_true", help="show every task and whether its data is found, then stop")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    options = parse(arguments)
    from evaluation.listing import list_tasks  # after parsing: a typo should not wait for the imports of torch
    from evaluation.runner import BenchmarkSettings, run_benchmark
    from evaluation.table import table_rows, to_text

    if options.list:
        print(list_tasks(tuple(options.data_root), options.corpus))
        return
    for name in ("model", "output"):
        if getattr(options, name) is None:
            raise UserError(f"--{name} is required; --help shows the options")
    settings = BenchmarkSettings(
        model=options.model,
        output=options.output,
        tasks=tuple(options.tasks),
        teachers=tuple(options.teachers),
        protocols=tuple(options.protocols),
        data_roots=tuple(options.data_root),
        corpus=options.corpus,
        image_size=options.image_size,
        seed=options.seed,
        memory_limit=options.memory_limit,
    )
    records = run_benchmark(settings, print)
    print(f"\n{to_text(table_rows(records))}\n\nrecords: {options.output}")


if __name__ == "__main__":
    run_entry(main)

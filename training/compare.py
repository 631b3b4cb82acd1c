"""Compare pretraining strategies under one student, corpus and number of frames; see docs/pretraining.md.

python -m training.compare --recipes training/recipes/compare/*.yaml --data-root DIR --corpus CORPUS --output DIR \
    teachers.efficientnet_lite0.repo=DIR teachers.efficientnet_lite2.repo=DIR
"""

import argparse
from pathlib import Path

from training.comparison.plan import ASPECTS, Run, plan_runs
from training.comparison.plot import draw
from training.comparison.runs import finish
from training.comparison.scores import read_scores
from training.comparison.table import to_json, to_markdown
from training.corpus import Corpus
from training.errors import UserError, run_entry, stop_on_sigterm
from training.run_folder import write_atomic, write_json


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, `sys.argv` by default."""
    parser = argparse.ArgumentParser(
        prog="python -m training.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--recipes", metavar="FILE", nargs="+", required=True, help="recipes to compare")
    parser.add_argument("--corpus", metavar="CORPUS", required=True, help="pretraining corpus of all runs")
    parser.add_argument("--data-root", metavar="DIR", nargs="+", default=[], help="folders with benchmark datasets")
    parser.add_argument("--output", metavar="DIR", type=Path, required=True, help="runs, records, table and plot")
    parser.add_argument("--seeds", metavar="N", nargs="+", type=int, default=[0], help="of the trainings (0)")
    parser.add_argument("--tasks", metavar="NAME", nargs="+", default=["found"], help="of the benchmark (found)")
    parser.add_argument("--image-size", metavar="PIXELS", type=int, help="of the benchmark (the student's)")
    parser.add_argument(
        "--allow-different", metavar="WHAT", nargs="+", choices=ASPECTS, default=[], help=f"of {', '.join(ASPECTS)}"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that win over all recipes")
    options = parser.parse_args(arguments)
    # An option with several values also takes the words after it; settings are told by their equals sign.
    for name in ("recipes", "data_root", "tasks"):
        words = getattr(options, name)
        options.overrides += [word for word in words if "=" in word]
        setattr(options, name, [word for word in words if "=" not in word])
    return options


def benchmark_arguments(options: argparse.Namespace, runs: list[Run]) -> list[str]:
    """What `evaluation.benchmark` is asked of every student: all tasks, beside the teachers of all recipes."""
    size = options.image_size or max(run.config.student.image_size for run in runs)
    teachers = dict.fromkeys(teacher.repo for run in runs for teacher in run.config.teachers.values())
    return [
        "--tasks", *options.tasks,
        "--image-size", str(size),
        "--corpus", options.corpus,
        *(["--data-root", *options.data_root] if options.data_root else []),
        *(["--teachers", *teachers] if teachers else []),
    ]  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Plan, run what is missing, print and write the table, write the plot."""
    stop_on_sigterm()
    options = parse(arguments)
    output: Path = options.output
    runs = plan_runs(
        [Path(word) for word in options.recipes],
        options.overrides,
        options.corpus,
        output,
        options.seeds,
        options.allow_different,
    )
    corpus = Corpus.open(options.corpus)
    output.mkdir(parents=True, exist_ok=True)
    finished = []
    for number, run in enumerate(runs, 1):
        print(f"run {number} of {len(runs)}: {run.name}, strategy {run.config.strategy}", flush=True)
        finished.append(finish(run, corpus, output, benchmark_arguments(options, runs)))
    scores = read_scores(finished)
    if not scores:
        raise UserError("the benchmark measured nothing: name a --data-root or --tasks")
    table = to_markdown(finished, scores)
    write_atomic(output / "comparison.md", table)
    write_json(output / "comparison.json", to_json(finished, scores))
    draw(scores, list(dict.fromkeys(run.recipe for run in runs)), output / "comparison")
    print(f"\n{table}\ntable: {output / 'comparison.md'}, plot: {output / 'comparison.svg'}")


if __name__ == "__main__":
    run_entry(main)

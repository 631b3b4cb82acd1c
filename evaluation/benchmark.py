"""The benchmark command: measure a model beside its floors, teachers and peers, append records, print the tables.

python -m evaluation.benchmark --model runs/demo/hub --teachers A B --tasks found --data-root DIR --output results.jsonl
accelerate launch -m evaluation.benchmark ... spreads features and tables over processes.
"""

import argparse
from pathlib import Path

from evaluation.command import Parser
from training.errors import UserError, run_entry


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, `sys.argv` by default."""
    parser = Parser(prog="python -m evaluation.benchmark", description=__doc__)
    parser.add_argument("--model", metavar="FOLDER|ID|PEER", help="the model: a folder, a Hub id or the name of a peer")
    parser.add_argument("--output", metavar="FILE", type=Path, help="results file (JSON lines), appended to")
    parser.add_argument(
        "--tasks",
        metavar="NAME",
        nargs="+",
        default=["found"],
        help="task names, TASK@SPLIT for a split that is not the default; found = all with data",
    )
    parser.add_argument("--teachers", metavar="NAME", nargs="*", default=[], help="teacher names, Hub ids or folders")
    parser.add_argument("--peers", metavar="NAME", nargs="*", default=[], help="peers, Hub ids or folders")
    parser.add_argument(
        "--protocols",
        metavar="NAME",
        nargs="+",
        default=["frozen"],
        help="frozen, few_shot, lora, full_finetune, zero_shot, transfer",
    )
    parser.add_argument(
        "--probes", metavar="NAME", nargs="+", default=[], help="knn, linear, attentive, tcn_causal, tcn_offline (all)"
    )
    parser.add_argument("--data-root", metavar="DIR", nargs="+", type=Path, default=[], help="folders with datasets")
    parser.add_argument(
        "--corpus", metavar="DIR", type=Path, help="pretraining corpus: teacher agreement, overlap count"
    )
    parser.add_argument("--image-size", metavar="PIXELS", type=int, default=224, help="side of the square frames (224)")
    parser.add_argument("--seeds", metavar="N", type=int, nargs="+", default=[0], help="of probes, training, draws (0)")
    parser.add_argument("--features", metavar="DIR", type=Path, help="keep features there; default: beside the results")
    parser.add_argument("--memory-limit", metavar="GB", type=float, default=16.0, help="for stored features (16)")
    parser.add_argument(
        "--finetune", metavar="KEY=VALUE", nargs="+", default=[], help="of lora and full_finetune, such as epochs=3"
    )
    parser.add_argument("--lora", metavar="KEY=VALUE", nargs="+", default=[], help="of lora, such as rank=8")
    parser.add_argument("--text-model", metavar="FOLDER|ID", help="of zero_shot: the text side of the model")
    parser.add_argument("--list", action="store_true", help="show every task and whether its data is found, then stop")
    parser.add_argument("--plan", action="store_true", help="show frames, fits and expected time, then stop")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    options = parse(arguments)
    from evaluation.listing import list_tasks  # after parsing: a typo should not wait for the imports of torch
    from evaluation.protocols.end_to_end import FinetuneSettings
    from evaluation.protocols.lora import LoraSettings
    from evaluation.runner import BenchmarkSettings, run_benchmark
    from evaluation.table import table_rows, to_text
    from evaluation.work_plan import plan_work
    from training.config import load_config
    from training.distributed import start_processes

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
        peers=tuple(options.peers),
        protocols=tuple(options.protocols),
        probes=tuple(options.probes),
        data_roots=tuple(options.data_root),
        corpus=options.corpus,
        image_size=options.image_size,
        seeds=tuple(dict.fromkeys(options.seeds)),
        features=options.features,
        memory_limit=options.memory_limit,
        text_model=options.text_model,
        finetune=load_config(FinetuneSettings, None, options.finetune),
        lora=load_config(LoraSettings, None, options.lora),
    )
    say = start_processes().on_main_process(print)
    if options.plan:
        say(plan_work(settings, say))
        return
    records = run_benchmark(settings, say)
    say(f"\n{to_text(table_rows(r for r in records if r.primary))}\n\nrecords: {options.output}")


if __name__ == "__main__":
    run_entry(main)

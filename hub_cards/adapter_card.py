"""Make the Hub folder of a LoRA adapter that the benchmark trained: its files, and a card from the record of it.

python -m hub_cards.adapter_card results.adapters/presence_endoscapes-seed0 results.jsonl --base runs/demo/hub \
    --base-id ORG/zen-nano --output runs/demo/adapter
"""

import argparse
from pathlib import Path

from evaluation.command import Parser
from training.errors import run_entry


def main(arguments: list[str] | None = None) -> None:
    """Check everything, then write the folder."""
    options = parse(arguments)
    from hub_cards.adapter_folder import make_adapter_folder  # after parsing: the imports of torch take seconds

    make_adapter_folder(options.adapter, options.results, options.base, options.base_id, options.output)
    print(
        f"the adapter and its card are in {options.output}: read {options.output / 'README.md'} before you publish it"
    )


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, `sys.argv` by default."""
    parser = Parser(prog="python -m hub_cards.adapter_card", description=__doc__)
    parser.add_argument("adapter", type=Path, metavar="ADAPTER", help="adapter folder beside the results file")
    parser.add_argument("results", type=Path, metavar="RESULTS", help="results file of evaluation.benchmark")
    parser.add_argument("--base", type=Path, metavar="HUB", required=True, help="folder of the model it was trained on")
    parser.add_argument("--base-id", metavar="ORG/NAME", required=True, help="that model's id, for those who load it")
    parser.add_argument("--output", type=Path, metavar="DIR", required=True, help="folder to write")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_entry(main)

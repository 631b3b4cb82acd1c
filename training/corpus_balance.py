"""Weigh a corpus anew: `python -m training.corpus_balance CORPUS [balance.procedure_temperature=0.3 ...]`."""

from pathlib import Path

from training.config import settings_parser, to_yaml
from training.corpus.rebalance import RebalanceSettings, balance_table, rebalance
from training.errors import run_entry


def main() -> None:
    """Parse the command line, rewrite the weights, and print how often the groups are drawn now."""
    parser = settings_parser(
        "training.corpus_balance",
        RebalanceSettings,
        description="Change how often the frames of each procedure, source and case are drawn. Nothing is curated "
        "again. Without settings the weights are computed anew, as after a search for duplicates.",
        heading="settings and their defaults; what is not given stays as it is for this corpus",
    )
    parser.add_argument("corpus", type=Path, metavar="CORPUS")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_args()
    result = rebalance(options.corpus, options.overrides)
    print(to_yaml(result.settings))
    print(balance_table(result))
    print(f"corpus: {options.corpus}  ({'its manifest has new weights' if result.changed else 'nothing has changed'})")


if __name__ == "__main__":
    run_entry(main)

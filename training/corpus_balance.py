"""Weigh a corpus anew: `python -m training.corpus_balance CORPUS [balance.procedure_temperature=0.3 ...]`."""

import argparse
from pathlib import Path

from omegaconf import OmegaConf

from training.corpus.rebalance import RebalanceSettings, balance_table, rebalance
from training.errors import run_entry


def main() -> None:
    """Parse the command line, rewrite the weights, and print how often the groups are drawn now."""
    defaults = OmegaConf.to_yaml(OmegaConf.structured(RebalanceSettings))
    parser = argparse.ArgumentParser(
        prog="python -m training.corpus_balance",
        description="Change how often the frames of each procedure, source and case are drawn. Nothing is curated "
        "again. Without settings the weights are computed anew, as after a search for duplicates.",
        epilog=f"settings and their defaults; what is not given stays as it is for this corpus:\n\n{defaults}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("corpus", type=Path, metavar="CORPUS")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_args()
    result = rebalance(options.corpus, options.overrides)
    print(OmegaConf.to_yaml(OmegaConf.structured(result.settings)))
    print(balance_table(result))
    print(f"corpus: {options.corpus}  ({'its manifest has new weights' if result.changed else 'nothing has changed'})")


if __name__ == "__main__":
    run_entry(main)

"""Entry: `python -m training.corpus.synthetic OUT [key=value ...]` renders the synthetic corpus into OUT."""

import sys

from training.config import load_config
from training.corpus.synthetic import SyntheticSettings, read_ground_truth, write_dataset
from training.errors import UserError, run_entry

USAGE = "python -m training.corpus.synthetic OUT [key=value ...]"


def main() -> None:
    """Parse, render, print where the corpus lies."""
    words = sys.argv[1:]
    if words and words[0] in ("-h", "--help"):
        print(f"usage: {USAGE}\nkeys: {', '.join(SyntheticSettings.__dataclass_fields__)}")
        return
    if not words or "=" in words[0] or words[0].startswith("-"):
        raise UserError(f"the output folder is missing; usage: {USAGE}")
    settings = load_config(SyntheticSettings, None, words[1:])
    dataset = read_ground_truth(write_dataset(words[0], settings))
    frames = sum(len(case.records) for case in dataset.cases)
    print(f"synthetic corpus: {dataset.root} ({len(dataset.cases)} cases, {frames} frames)")


if __name__ == "__main__":
    run_entry(main)

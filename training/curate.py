"""Curate surgical videos and images into a corpus: `python -m training.curate INPUT... OUT [key=value ...]`."""

from pathlib import Path

from training.config import load_config, settings_parser, split_overrides, to_yaml
from training.corpus.curation import curate, summary_table
from training.corpus.hub_source import is_dataset
from training.corpus.identity import private_folder
from training.corpus.settings import CurationSettings
from training.errors import UserError, run_entry, stop_on_sigterm


def main() -> None:
    """Parse the command line, curate, and print what the corpus holds and where it lies."""
    inputs, out, settings = _parse()
    print(to_yaml(settings))
    outcome = curate(inputs, out, settings)
    print(summary_table(outcome))
    if outcome.resumed_units:
        print(f"{outcome.resumed_units} videos were finished by an earlier, interrupted run")
    if outcome.gone:
        print(f"{outcome.gone} files of the corpus are no longer in these inputs; what was kept of them stays")
    if outcome.nothing_new:
        print(f"nothing new in these inputs, {out} is unchanged")
    else:
        rate = outcome.new_frames / outcome.seconds
        print(f"{outcome.new_frames} frames sampled in {outcome.seconds:.1f} s ({rate:.1f} frames/s)")
    print(f"corpus: {out}  (drops.parquet says what was left out and why)")
    if settings.deidentify:
        print(
            f"names in it are hashed; {private_folder(out, settings)} holds salt and true names and must not be "
            f"published with it: python -m training.corpus_names {out} CASE"
        )


def _parse() -> tuple[list[Path | str], Path, CurationSettings]:
    parser = settings_parser(
        "training.curate",
        CurationSettings,
        description="Turn videos and images into a corpus of clean frames in Parquet shards. Run it again to add.",
    )
    parser.add_argument(
        "words",
        nargs="+",
        metavar="WORD",
        help="INPUT... OUT [key=value ...]: folders, files, source manifests (.csv, .jsonl, .parquet), "
        "hf://datasets/ORG/NAME[@REVISION][:CONFIG[:SPLIT[:COLUMN]]] or dataset:PATH, then the output folder",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file with the settings that differ")
    arguments = parser.parse_intermixed_args()
    overrides, words = split_overrides(arguments.words)
    if len(words) < 2:
        raise UserError("give at least one input and the output folder: python -m training.curate INPUT... OUT")
    if is_dataset(words[-1]):
        raise UserError(f"the last word {words[-1]!r} is a dataset: it must be the output folder")
    inputs = [word if is_dataset(word) else Path(word) for word in words[:-1]]
    return inputs, Path(words[-1]), load_config(CurationSettings, arguments.config, overrides)


if __name__ == "__main__":
    stop_on_sigterm()
    run_entry(main)

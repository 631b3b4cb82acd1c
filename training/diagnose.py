"""Measure a checkpoint without labels: `python -m training.diagnose CHECKPOINT --corpus CORPUS --output DIR [k=v]`."""

from pathlib import Path

from training.config import load_config, settings_parser, split_overrides, to_yaml
from training.diagnostics.diagnosis import diagnose, result_table
from training.diagnostics.settings import DiagnoseSettings
from training.errors import UserError, run_entry


def main() -> None:
    """Parse the command line, measure, and print the main figures and where all of them lie."""
    parser = settings_parser(
        "training.diagnose",
        DiagnoseSettings,
        description="What a checkpoint has learned, on videos that it was not trained on: agreement with its teachers, "
        "spread of its features, correspondence, resolution, time. Writes diagnosis.json and diagnosis.html.",
    )
    parser.add_argument("words", nargs="+", metavar="WORD", help="CHECKPOINT [key=value ...]: see docs/diagnostics.md")
    parser.add_argument("--corpus", required=True, metavar="CORPUS", help="folder, URL or hf://datasets/ORG/NAME")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write into")
    parser.add_argument("--no-teachers", action="store_true", help="measure what needs no teacher")
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file with the settings that differ")
    options = parser.parse_intermixed_args()
    overrides, words = split_overrides(options.words)
    if len(words) != 1:
        raise UserError(
            "give one checkpoint: a run folder, one of its checkpoints (step-00000100) or a ZEN model folder"
        )
    settings = load_config(DiagnoseSettings, options.config, overrides)
    print(to_yaml(settings))
    record = diagnose(Path(words[0]), options.corpus, options.output, settings, teachers=not options.no_teachers)
    print(result_table(record))
    print(
        f"diagnosis: {options.output / 'diagnosis.html'}  (all figures: diagnosis.json; it shows frames of the corpus)"
    )


if __name__ == "__main__":
    run_entry(main)

"""Train a classifier of out-of-body frames: `python -m training.train_frame_filter LABELED_FOLDER OUT [key=value]`."""

from pathlib import Path

from training.config import load_config, settings_parser, to_yaml
from training.corpus.frame_classifier_training import (
    FrameFilterSettings,
    measure,
    read_labeled_folder,
    refuse_used_folder,
    save_frame_classifier,
    split_by_case,
    train_frame_classifier,
)
from training.errors import run_entry


def main() -> None:
    """Parse the command line, train, print how well it does on held-out cases and where the model lies."""
    folder, out, settings = _parse()
    print(to_yaml(settings))
    refuse_used_folder(out)
    frames = read_labeled_folder(folder, settings.case_pattern)
    train, held_out = split_by_case(frames, settings.held_out_fraction)
    cases = len({frame.case for frame in train}), len({frame.case for frame in held_out})
    print(f"training: {len(train)} frames of {cases[0]} cases; held out: {len(held_out)} frames of {cases[1]} cases")
    classifier = train_frame_classifier(train, settings)
    print(f"{'held-out frames':<16}{'accuracy':>10}{'precision':>11}{'recall':>8}")
    for row in measure(classifier, held_out):
        print(f"{row.name:<16}{row.accuracy:>10.3f}{row.precision:>11.3f}{row.recall:>8.3f}")
    save_frame_classifier(classifier, out)
    print(f"the model is in {out}: python -m training.curate INPUT... OUT filters.out_of_body.model={out}")


def _parse() -> tuple[Path, Path, FrameFilterSettings]:
    parser = settings_parser(
        "training.train_frame_filter",
        FrameFilterSettings,
        description="Learn which frames show the inside of the patient from the subfolders surgical/ and out_of_body/.",
    )
    parser.add_argument("folder", type=Path, metavar="LABELED_FOLDER", help="with surgical/ and out_of_body/")
    parser.add_argument("out", type=Path, metavar="OUT", help="new folder for the model")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that differ")
    arguments = parser.parse_args()
    return arguments.folder, arguments.out, load_config(FrameFilterSettings, None, arguments.overrides)


if __name__ == "__main__":
    run_entry(main)

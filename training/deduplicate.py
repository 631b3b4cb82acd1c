"""Find near-duplicates: `python -m training.deduplicate CORPUS [--embedding MODEL] [--against FOLDER...] [k=v ...]`."""

from collections import Counter
from pathlib import Path

from training.config import load_config, settings_parser, split_overrides, to_yaml
from training.corpus.duplicates.deduplication import Deduplicated, deduplicate
from training.corpus.duplicates.settings import DeduplicationSettings
from training.errors import run_entry


def main() -> None:
    """Parse the command line, search, and print what was found and where it is listed."""
    parser = settings_parser(
        "training.deduplicate",
        DeduplicationSettings,
        description="List near-duplicates across the videos of a corpus, of which the loader draws one, and say which "
        "benchmark cases it shows. Run it again after adding videos.",
    )
    parser.add_argument("corpus", type=Path, metavar="CORPUS")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--embedding", metavar="MODEL", help="an AutoModel: Hub repository or folder")
    parser.add_argument(
        "--against", nargs="+", default=[], metavar="FOLDER", help="evaluation data to look for in the corpus"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file with the settings that differ")
    options = parser.parse_intermixed_args()
    words, folders = split_overrides(options.against)  # settings may follow --against
    against = [Path(folder) for folder in folders]
    settings = load_config(DeduplicationSettings, options.config, [*options.overrides, *words])
    print(to_yaml(settings))
    found = deduplicate(options.corpus, settings, embedding=options.embedding, against=against)
    print(result_table(found))
    print(f"corpus: {options.corpus}  (duplicates.parquet lists the clusters)")


def result_table(found: Deduplicated) -> str:
    """What was found, as a table to print."""
    summary = found.summary
    lines = [f"{'':<28}{'train':>9}{'held_out':>10}"]
    for method, counts in summary["left_out"].items():
        lines.append(f"{'frames left out, ' + method:<28}{counts['train']:>9}{counts['held_out']:>10}")
    lines.append(f"{summary['clusters']} clusters among {summary['frames']} frames of {summary['clips']} clips")
    lines.append(f"{summary['across_splits']} train frames are left out because a held-out case shows the same")
    frames = Counter[str]()
    for row in found.seen:
        frames[row.case] += row.frames
    lines += [f"{'shows ' + case:<40}{count:>7} frames" for case, count in sorted(frames.items())]
    gone = len({row.clip_id for row in found.seen if row.dropped})
    if gone:
        lines.append(f"{gone} clips that show evaluation data are dropped from the manifest")
    return "\n".join(lines)


if __name__ == "__main__":
    run_entry(main)

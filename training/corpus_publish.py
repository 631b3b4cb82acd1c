"""Publish a corpus: `python -m training.corpus_publish CORPUS --repo-id ORG/NAME [--private] [--dry-run]`."""

import argparse
from pathlib import Path

from training.corpus.publish_dataset import plan_upload, push_to_hub
from training.errors import run_entry


def main() -> None:
    """Check everything, show what will be uploaded, and upload it."""
    parser = argparse.ArgumentParser(
        prog="python -m training.corpus_publish",
        description="Upload a corpus to the Hub as a dataset repository with a card. MIND the licences of its sources "
        "and the privacy of its patients: frames of dropped spans stay here, everything that was kept goes.",
    )
    parser.add_argument("corpus", type=Path, metavar="CORPUS", help="folder made by training.curate")
    parser.add_argument("--repo-id", required=True, metavar="ORG/NAME", help="dataset repository; made if need be")
    parser.add_argument("--private", action="store_true", help="only its owners will see it")
    parser.add_argument("--dry-run", action="store_true", help="show files, sizes and the card; send nothing")
    options = parser.parse_args()
    upload = plan_upload(options.corpus, options.repo_id, private=options.private)
    total = 0
    for name, size in upload.sizes():
        print(f"{size / 1e6:>10.2f} MB  {name}")
        total += size
    print(f"{total / 1e6:>10.2f} MB  in all, to the dataset {options.repo_id}")
    if options.dry_run:
        print(f"\n{upload.card}")
        return
    print(f"published: {push_to_hub(upload, private=options.private)}")


if __name__ == "__main__":
    run_entry(main)

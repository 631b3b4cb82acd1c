"""Remove a case from a corpus, as when consent is withdrawn: `python -m training.corpus_remove OUT --case ID`."""

import argparse
from pathlib import Path

from training.corpus.removal import remove_case
from training.errors import run_entry, stop_on_sigterm


def main() -> None:
    """Remove the case, or say what would be removed, and print what that meant."""
    parser = argparse.ArgumentParser(
        prog="python -m training.corpus_remove",
        description="Rewrite the shards that hold a case, drop its rows, record that, and never take it in again.",
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the corpus")
    parser.add_argument("--case", required=True, metavar="ID", help="case_id, hashed as in the corpus or the true one")
    parser.add_argument("--private", default="", metavar="FOLDER", help="where the true names are, if not OUT.private")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    options = parser.parse_args()
    done = remove_case(options.out, options.case, private=options.private, dry_run=options.dry_run)
    removal = done.removal
    gone = [shard.name for shard in removal.shards if not shard.after]
    if done.again:
        print(f"case {removal.case_id} was removed on {removal.time} already; {options.out} is complete")
    else:
        print(
            f"{'would remove' if options.dry_run else 'removed'} case {removal.case_id}: {removal.frames} frames in "
            f"{removal.clips} clips of {len(removal.files)} files"
        )
        print(f"shards that hold it: {', '.join(shard.name for shard in removal.shards) or 'none'}")
        if gone and not options.dry_run:
            print(f"nothing was left in {', '.join(gone)}")
    if done.alike:
        print(f"note: a file with the same content is in case {', '.join(done.alike)} too; remove that as well?")
    if not options.dry_run:
        print(f"record: {options.out / 'removals.json'}")


if __name__ == "__main__":
    stop_on_sigterm()
    run_entry(main)

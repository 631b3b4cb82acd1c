"""Publish a model, adapter, exported graph or metric on the Hub: checked first, then only what changed is sent.

python -m hub_cards.publish runs/demo --repo-id ORG/zen-nano --private --dry-run

The token is that of HF_TOKEN or of `hf auth login`; the address of another Hub is taken from HF_ENDPOINT.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.command import Parser
from training.errors import UserError, run_entry

if TYPE_CHECKING:
    from hub_cards.publishing.upload import Changes


def main(arguments: list[str] | None = None) -> None:
    """Check everything, show what changes, and send it."""
    options = parse(arguments)
    from huggingface_hub import HfApi  # after parsing: the imports take seconds

    from hub_cards.publishing import upload
    from hub_cards.publishing.loading import check_loading
    from hub_cards.publishing.publication import find_base_id, locate, plan_publication

    upload.check_branch(options.revision)
    folder, kind = locate(options.location, options.kind)
    base_id = find_base_id(folder, kind, options.base_id)
    api = HfApi()
    base = upload.read_base(api, base_id) if base_id else None
    publication = plan_publication(folder, kind, options.repo_id, base=base, accepted=options.accept_licence)
    for note in publication.notes:
        print(f"note: {note}")
    remote = upload.read_remote(api, publication, options.revision, private=options.private)
    changes = upload.compare(api, publication, remote)
    if not changes and remote.commit is not None and not options.dry_run:
        print(f"nothing to do: {options.repo_id} holds exactly these {len(publication.files)} files")
        return
    print(f"{folder}: {kind.name}, loaded strictly: {check_loading(kind, folder, base_id)}")
    _show(publication.sizes(), changes)
    if options.dry_run:
        state = "does not exist yet" if remote.private is None else "is private" if remote.private else "is public"
        print(f"dry run: nothing was sent; {options.repo_id} {state}\n\n{publication.card}")
        return
    upload.prepare_repository(api, publication, options.revision, private=options.private)
    if remote.commit is None:  # of what was made just now
        remote = upload.read_remote(api, publication, options.revision, private=options.private)
        changes = upload.compare(api, publication, remote)
    print(f"published: {upload.send(api, publication, remote, changes, options.revision)}")


def _show(sizes: dict[str, int], changes: "Changes") -> None:
    """One line for each file and one for all."""
    for word in ("add", "replace", "delete", "keep"):
        for name in getattr(changes, word):
            size = f"{sizes[name] / 1e6:.3f} MB" if name in sizes else ""
            print(f"{word:<8}{size:>14}  {name}")
    sent = sum(sizes[name] for name in (*changes.add, *changes.replace))
    print(f"{len(sizes)} files of {sum(sizes.values()) / 1e6:.3f} MB, of which {sent / 1e6:.3f} MB are new or changed")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, `sys.argv` by default.

    Raises:
        UserError: a mistake, or a token in the command line, where other users of the machine could read it.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if any("hf_" in word and len(word.partition("hf_")[2]) >= 20 for word in words):
        raise UserError(
            "a token does not belong on the command line, where others can read it: revoke it, and set HF_TOKEN or run "
            "`hf auth login`"
        )
    parser = Parser(prog="python -m hub_cards.publish", description=__doc__)
    parser.add_argument(
        "location", type=Path, metavar="RUN", help="folder of hub_cards.card, an adapter, an export or a metric"
    )
    parser.add_argument("--repo-id", required=True, metavar="ORG/NAME", help="repository; made if need be")
    parser.add_argument("--private", action="store_true", help="only its owners will see it")
    parser.add_argument("--revision", default="main", metavar="BRANCH", help="branch; a new one begins as main is")
    parser.add_argument("--dry-run", action="store_true", help="show files, changes and the card; send nothing")
    parser.add_argument(
        "--kind", choices=("model", "adapter", "export", "metric"), help="what it is, where the files do not say it"
    )
    parser.add_argument("--base-id", metavar="ORG/NAME", help="published base model of an adapter or export")
    parser.add_argument(
        "--accept-licence", metavar="TEXT", help="why you may publish although the licence of an input is unclear"
    )
    return parser.parse_args(words)


if __name__ == "__main__":
    run_entry(main)

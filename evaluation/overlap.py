"""Does a test case sit in the pretraining corpus? Compared by the SHA-256 of whole source files."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from training.corpus import Corpus

LONGEST_RUN = 64  # stills in one clip of a corpus that are looked for; curation makes clips of 16 by default


def count_overlap(test_digests: Mapping[str, Sequence[str]], corpus: Corpus) -> int:
    """Number of test files that are source files of the corpus's train split; see `seen_files`."""
    return sum(map(len, seen_files(test_digests, corpus).values()))


def seen_files(test_digests: Mapping[str, Sequence[str]], corpus: Corpus) -> dict[str, list[int]]:
    """Which test files are source files of the corpus's train split.

    A clip of several stills carries the digest of their joined hex digests, and its stills follow each other in frame
    order; so every run of neighboring files of a case is compared as well. A re-encoded or cropped copy has another
    digest and is not found.

    Args:
        test_digests: SHA-256 (hex) of the source files of each test case, in frame order.
        corpus: the pretraining corpus.

    Returns:
        Positions in the digests of each case that has any, ascending.
    """
    pretrained = {clip.sha256 for clip in corpus.clips("train")}
    seen: dict[str, list[int]] = {}
    for case, digests in test_digests.items():
        found = {position for position, digest in enumerate(digests) if digest in pretrained}
        for start in range(len(digests)):
            joined = hashlib.sha256(digests[start].encode())
            for end in range(start + 1, min(start + LONGEST_RUN, len(digests))):
                joined.update(digests[end].encode())
                if joined.hexdigest() in pretrained:
                    found.update(range(start, end + 1))
        if found:
            seen[case] = sorted(found)
    return seen


def other_corpus(model: Path, corpus: Corpus) -> str | None:
    """A warning if the model folder says it was pretrained on another corpus than `corpus`; None otherwise."""
    facts = model / "corpus.json"
    if not facts.is_file():
        return None
    stated = json.loads(facts.read_text(encoding="utf-8")).get("fingerprint")
    if stated in (None, corpus.fingerprint):
        return None
    return (
        f"{facts.name} of the model names corpus fingerprint {str(stated)[:12]}, "
        f"--corpus has {corpus.fingerprint[:12]}: the overlap count is about a corpus the model was not pretrained on"
    )

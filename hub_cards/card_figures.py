"""The figures of a card, told from its prose: what may not be edited by hand after the card was made."""

import re
from hashlib import sha256

_INDEX = re.compile(r"^model-index:.*(?:\n[ \t-].*)*", re.MULTILINE)  # of the metadata, where the Hub reads results
_TABLE = re.compile(r"\||<t[a-z]", re.IGNORECASE)


def hash_figures(card: str) -> str:
    """SHA-256 over the results in the metadata of a card and the lines of its tables, in their order."""
    text = "\n".join(card.splitlines())
    front, _, body = text.removeprefix("---\n").partition("\n---\n")
    index = _INDEX.search(front)
    lines = [line.strip() for line in body.split("\n") if _TABLE.search(line)]
    return sha256("\n".join(["" if index is None else index.group(), *lines]).encode()).hexdigest()

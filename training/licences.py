"""The licence of distilled weights, derived from the licences of what went into them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

# Known licences by Hub identifier, from the least to the most restrictive; the value says what the licence asks.
_KNOWN = {
    "cc0-1.0": "public domain dedication: no condition",
    "mit": "permissive: keep the copyright notice",
    "bsd-2-clause": "permissive: keep the copyright notice",
    "bsd-3-clause": "permissive: keep the copyright notice",
    "apache-2.0": "permissive: keep the notices, state changes",
    "cc-by-4.0": "give credit",
    "gpl-3.0": "copyleft: derived works keep this licence",
    "cc-by-sa-4.0": "give credit; adaptations keep this licence",
    "cc-by-nc-4.0": "give credit; no commercial use",
    "cc-by-nc-sa-4.0": "give credit; no commercial use; adaptations keep this licence",
}
_LADDER = tuple(_KNOWN)
_SHARE_ALIKE = {"gpl-3.0", "cc-by-sa-4.0", "cc-by-nc-sa-4.0"}


@dataclass(frozen=True)
class DerivedLicence:
    """Licence of the weights: Hub identifier ("other" when no single one fits), a name for "other", and why."""

    identifier: str
    name: str | None
    reason: str


def identifier(licence: str | None) -> str | None:
    """The Hub identifier of a licence written in any usual way ("CC BY-NC-SA 4.0"), or `None` when it is not known."""
    if licence is None:
        return None
    words = re.sub(r"[\s_,]+", "-", licence.strip().lower())
    words = re.sub(r"^(the-)?", "", words)
    words = re.sub(r"-(licen[cs]e|international)", "", words).replace("version-", "").replace("-v", "-")
    aliases = {
        "apache-2": "apache-2.0",
        "cc0": "cc0-1.0",
        "bsd-3": "bsd-3-clause",
        "gplv3": "gpl-3.0",
        "gpl-3": "gpl-3.0",
    }
    words = aliases.get(words, words)
    return words if words in _KNOWN else None


def meaning(licence: str | None) -> str:
    """What a licence asks of the weights distilled from it, in a few words."""
    known = identifier(licence)
    if known is not None:
        return _KNOWN[known]
    if licence is None or licence.strip().lower() in {"", "unknown", "none"}:
        return "not recorded: assume that nothing is permitted until it is known"
    return "terms of its own: read them before using these weights"


def restricts(licence: str | None) -> bool:
    """Whether weights distilled under this licence are bound by more than keeping notices and giving credit."""
    known = identifier(licence)
    return known is None or known in _SHARE_ALIKE or "-nc" in known


def derive(inputs: Iterable[tuple[str, str | None]]) -> DerivedLicence:
    """The licence for weights made from `inputs`, pairs of (what it is, its licence as recorded).

    The most restrictive known licence wins. It is "other" when an input's licence is unknown or has terms of its own,
    and when share-alike inputs ask for different licences. A rule, not legal advice, and the card says so.
    """
    pairs = list(dict.fromkeys(inputs))
    unclear = [f"{what} ({licence or 'not recorded'})" for what, licence in pairs if identifier(licence) is None]
    if unclear:
        reason = "the terms of these inputs are not recorded or are their own: " + "; ".join(unclear)
        return DerivedLicence("other", "see-inputs", reason)
    known = {what: identifier(licence) or "" for what, licence in pairs}
    if not known:
        return DerivedLicence("other", "see-inputs", "no input is recorded")
    strictest = max(known.values(), key=_LADDER.index)
    bound = sorted({licence for licence in known.values() if licence in _SHARE_ALIKE and licence != strictest})
    if bound:
        reason = f"share-alike inputs ask for different licences: {', '.join([*bound, strictest])}"
        return DerivedLicence("other", "see-inputs", reason)
    owners = [what for what, licence in known.items() if licence == strictest]
    return DerivedLicence(
        strictest, None, f"{strictest} is the most restrictive licence among the inputs: {', '.join(owners)}"
    )

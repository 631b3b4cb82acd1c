"""What the licences of teachers and corpus imply for the weights: in sentences, in metadata and as a file of terms."""

import re
from collections.abc import Iterable

from training.licences import DerivedLicence, identifier, meaning
from training.report.markdown import markdown_text

OTHER = "other"  # the Hub's word for terms of their own
LICENCE_FILE = "LICENSE.md"  # by this name the Hub finds the terms behind "other"
_SAYS_NON_COMMERCIAL = re.compile(r"\bno[nt]?[\s-]*commercial", re.IGNORECASE)
_NON_COMMERCIAL = re.compile(r"\bnc\b|non-?commercial")
_NO_DERIVATIVES = re.compile(r"\bnd\b|no-?deriv")
_SHARE_ALIKE = re.compile(r"\bsa\b|share-?alike|\bgpl")
_UNKNOWN = ("", "unknown", "none")


def implications(inputs: Iterable[tuple[str, str | None]]) -> list[str]:
    """Sentences about use, derivation and sharing, the gravest first; one that says so where nothing restricts.

    Args:
        inputs: pairs of (what it is, its licence as recorded), such as ("teacher dinov2-small", "apache-2.0").
    """
    pairs = list(dict.fromkeys(inputs))
    words = {pair: _words(pair[1]) for pair in pairs}
    closed = [pair for pair in pairs if forbids_derivatives(pair[1])]
    paid = [pair for pair in pairs if forbids_commerce(pair[1])]
    alike = [pair for pair in pairs if _SHARE_ALIKE.search(words[pair])]
    silent = [pair for pair in pairs if words[pair] in _UNKNOWN]
    stated = {*closed, *paid, *alike, *silent}
    own = [pair for pair in pairs if identifier(pair[1]) is None and pair not in stated]
    sentences = []
    if closed:
        sentences.append(
            f"No derivatives: {_listed(closed)} forbids sharing what is made from it, such as these weights."
        )
    if paid:
        sentences.append(f"No commercial use of these weights: {_listed(paid)} permits none.")
    if alike:
        sentences.append(f"Share alike: what is adapted from {_listed(alike)} keeps its licence.")
    if silent:
        sentences.append(f"Not recorded is the licence of {_listed(silent)}: assume that nothing is permitted.")
    if own:
        sentences.append(f"Terms of its own has {_listed(own)}: read them before using these weights.")
    return sentences or ["No input forbids commercial use, derivation or sharing; notices and credit are kept."]


def licence_keys(licence: DerivedLicence, inputs: Iterable[tuple[str, str | None]]) -> dict[str, str]:
    """The licence in a card's metadata: `license`, and for "other" a name and where the terms stand.

    The name says "non-commercial" where an input does: what is made from these weights reads no more than the name.
    """
    if licence.identifier != OTHER:
        return {"license": licence.identifier}
    bound = any(forbids_commerce(terms) for _, terms in inputs)
    name = f"{licence.name}-non-commercial" if bound else str(licence.name)
    return {"license": OTHER, "license_name": name, "license_link": LICENCE_FILE}


def licence_file(licence: DerivedLicence, inputs: Iterable[tuple[str, str | None]]) -> str:
    """The text of `LICENCE_FILE`: every input with its licence and what that asks, and what follows."""
    pairs = list(dict.fromkeys(inputs))
    rows = [
        f"| {markdown_text(what)} | {markdown_text(terms or 'not recorded')} | {meaning(terms)} |"
        for what, terms in pairs
    ]
    return "\n".join(
        [
            "# Terms of these weights",
            "",
            f"No single licence fits: {markdown_text(licence.reason)}. The terms of every input hold.",
            "",
            "| input | licence | what it asks of what is made from it |",
            "|---|---|---|",
            *rows,
            "",
            *(f"- {markdown_text(sentence)}" for sentence in implications(pairs)),
            "",
            "This follows from a rule, not from legal advice.",
            "",
        ]
    )


def says_non_commercial(text: str) -> bool:
    """Whether a text says that there is no commercial use."""
    return _SAYS_NON_COMMERCIAL.search(text) is not None


def shares_alike(licence: str | None) -> bool:
    """Whether what is adapted from a work must keep its licence, by its name."""
    return _SHARE_ALIKE.search(_words(licence)) is not None


def forbids_commerce(licence: str | None) -> bool:
    """Whether a licence permits no commercial use, by its name; one that is not recorded has no name."""
    return _NON_COMMERCIAL.search(_words(licence)) is not None


def forbids_derivatives(licence: str | None) -> bool:
    """Whether a licence forbids sharing what is made from the work, by its name."""
    return _NO_DERIVATIVES.search(_words(licence)) is not None


def _words(licence: str | None) -> str:
    return re.sub(r"[\s_]+", "-", (licence or "").strip().lower())


def _listed(pairs: Iterable[tuple[str, str | None]]) -> str:
    return ", ".join(what if licence is None else f"{what} ({licence})" for what, licence in pairs)

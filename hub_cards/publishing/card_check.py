"""A card that the Hub can read, and a licence that its inputs permit."""

import re
from collections.abc import Collection
from typing import Any

import yaml

from hub_cards.licence_terms import OTHER, forbids_commerce, forbids_derivatives, says_non_commercial, shares_alike
from hub_cards.publishing.kinds import Kind
from training.errors import UserError
from training.licences import identifier

_LINKED = frozenset({"LICENSE", "LICENSE.md"})  # files that the Hub takes as a link; anything else is an address
_FRONT = re.compile(r"---[ \t]*\r?\n(.*?)(?:\r?\n)---[ \t]*(?:\r?\n|$)", re.DOTALL)  # as the Hub finds it


class _Strict(yaml.SafeLoader):
    """Refuses a key that stands twice: which of the two counts is another thing to every reader."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """As of the base class."""
        keys = [key.value for key, _ in node.value]
        if twice := next((key for number, key in enumerate(keys) if key in keys[:number]), None):
            raise yaml.constructor.ConstructorError(None, None, f"{twice!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read_front_matter(card: str) -> dict[str, Any]:
    """The metadata of a card; `UserError` unless it begins with a block of YAML between lines of three dashes."""
    found = _FRONT.match(card)
    if found is None:
        raise UserError("README.md has no metadata: it must begin with YAML between two lines '---'")
    try:
        metadata = yaml.load(found.group(1), _Strict)  # a SafeLoader
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        where = f" near line {place.line + 2}" if place else ""
        raise UserError(f"the metadata of README.md is not valid YAML{where}; make the card again") from error
    if not isinstance(metadata, dict):
        raise UserError("the metadata of README.md is not a list of keys and values; make the card again")
    if not card[found.end() :].strip():
        raise UserError("README.md has metadata but no text; make the card again")
    return metadata


def check_card(metadata: dict[str, Any], kind: Kind, names: Collection[str]) -> None:
    """`UserError` naming the first key that is missing, or `other` as a licence without a name and a link for it.

    Args:
        metadata: of the card.
        kind: of the folder.
        names: of the files that are published beside the card.
    """
    for key in kind.card_keys:
        _require(metadata, key, f"a {kind.name}")
    if metadata["license"] == OTHER:
        for key in ("license_name", "license_link"):
            _require(metadata, key, "license 'other'")
        link = metadata["license_link"]
        if link not in _LINKED & set(names) and not re.fullmatch(r"https://[\w.-]+(?:/[\w./?=#%~+-]*)?", link):
            raise UserError(
                f"license_link {link!r} of README.md is neither LICENSE.md beside it nor an address with https://"
            )


def _require(metadata: dict[str, Any], key: str, whose: str) -> None:
    value = metadata.get(key)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"the metadata of README.md has no {key!r}, which {whose} must state")


def check_licence(
    metadata: dict[str, Any], card: str, inputs: list[tuple[str, str | None]], accepted: str | None
) -> None:
    """Compare the licence that a card states with those of what the weights were made from.

    What an input forbids or asks binds the weights, whatever is accepted; `accepted` is for terms that a rule cannot
    read.

    Args:
        metadata: of the card.
        card: all of it.
        inputs: pairs of (what it is, its licence as recorded).
        accepted: why it may be published although the terms of an input are not known; `None` where nobody said so.

    Raises:
        UserError: an input permits no commercial use and the card does, or its licence must be kept and is not; an
            input whose terms are unknown, its own, or forbid derivatives, and `accepted` is `None`.
    """
    stated = metadata["license"]
    for what, licence in inputs:
        if forbids_commerce(licence):
            _refuse_commerce(metadata, card, f"{what} ({licence})")
        if shares_alike(licence) and identifier(licence) is not None and stated not in (identifier(licence), OTHER):
            raise UserError(
                f"what is made from {what} ({licence}) keeps its licence, but README.md states license {stated!r}: "
                f"state {identifier(licence)}"
            )
        if (identifier(licence) is None or forbids_derivatives(licence)) and accepted is None:
            terms = "forbids derivatives" if forbids_derivatives(licence) else "is not known or has terms of its own"
            raise UserError(
                f"the licence of {what} ({licence or 'not recorded'}) {terms}: read it, and if you may publish, say "
                "why with --accept-licence TEXT"
            )
    if stated == OTHER and accepted is None:
        raise UserError(
            "README.md states license 'other', as the terms of an input are unclear: read them, and if you may "
            "publish, say why with --accept-licence TEXT"
        )


def _refuse_commerce(metadata: dict[str, Any], card: str, what: str) -> None:
    """`UserError` unless the card permits no commercial use: by its licence or, under `other`, in its text."""
    stated = metadata["license"]
    name = str(metadata.get("license_name", "")) if stated == OTHER else stated
    if (stated != OTHER or identifier(name) is not None) and not forbids_commerce(name):
        raise UserError(
            f"{what} permits no commercial use, but README.md states license {name!r}: state a non-commercial one, "
            "such as cc-by-nc-4.0"
        )
    if stated == OTHER and not says_non_commercial(card[_front_end(card) :]):
        raise UserError(
            f"{what} permits no commercial use, but the text of README.md does not say so under its license 'other': "
            "write that these weights are non-commercial"
        )


def _front_end(card: str) -> int:
    found = _FRONT.match(card)
    return 0 if found is None else found.end()

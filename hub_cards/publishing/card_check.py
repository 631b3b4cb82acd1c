"""A card that the Hub can read, and a licence that its inputs permit."""

from typing import Any

import yaml

from hub_cards.licence_terms import forbids_commerce, forbids_derivatives
from hub_cards.publishing.kinds import Kind
from training.errors import UserError
from training.licences import identifier

LICENCE_OTHER = "other"  # the Hub's word for terms of their own


def read_front_matter(card: str) -> dict[str, Any]:
    """The metadata of a card; `UserError` unless it begins with a block of YAML between lines of three dashes."""
    lines = card.splitlines()
    if not lines or lines[0] != "---" or "---" not in lines[1:]:
        raise UserError("README.md has no metadata: it must begin with YAML between two lines '---'")
    end = lines.index("---", 1)
    try:
        metadata = yaml.safe_load("\n".join(lines[1:end]))
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        where = f" near line {place.line + 2}" if place else ""
        raise UserError(f"the metadata of README.md is not valid YAML{where}; make the card again") from error
    if not isinstance(metadata, dict):
        raise UserError("the metadata of README.md is not a list of keys and values; make the card again")
    if not "".join(lines[end + 1 :]).strip():
        raise UserError("README.md has metadata but no text; make the card again")
    return metadata


def check_card(metadata: dict[str, Any], kind: Kind) -> None:
    """`UserError` naming the first key that is missing, or `other` as a licence without a name for it."""
    for key in kind.card_keys:
        value = metadata.get(key)
        if not isinstance(value, str) or not value.strip():
            raise UserError(f"the metadata of README.md has no {key!r}, which a {kind.name} must state")
    if metadata["license"] == LICENCE_OTHER and not metadata.get("license_name"):
        raise UserError("the metadata of README.md has license 'other' without a license_name")


def check_licence(stated: str, inputs: list[tuple[str, str | None]], accepted: str | None) -> None:
    """Compare the licence that a card states with those of what the weights were made from.

    Args:
        stated: of the card.
        inputs: pairs of (what it is, its licence as recorded).
        accepted: why it may be published although the terms of an input are not known; `None` where nobody said so.

    Raises:
        UserError: an input permits no commercial use and the card does; an input whose terms are unknown, its own, or
            forbid derivatives, and `accepted` is `None`.
    """
    for what, licence in inputs:
        unclear = identifier(licence) is None
        # "other" points to the text of the card, where the terms of every input are stated.
        permits_commerce = stated != LICENCE_OTHER and not forbids_commerce(stated)
        if forbids_commerce(licence) and permits_commerce:
            raise UserError(
                f"{what} ({licence}) permits no commercial use, but README.md states license {stated!r}: state a "
                "non-commercial one, such as cc-by-nc-4.0"
            )
        if (unclear or forbids_derivatives(licence)) and accepted is None:
            terms = "forbids derivatives" if forbids_derivatives(licence) else "is not known or has terms of its own"
            raise UserError(
                f"the licence of {what} ({licence or 'not recorded'}) {terms}: read it, and if you may publish, say "
                "why with --accept-licence TEXT"
            )
    if stated == LICENCE_OTHER and accepted is None:
        raise UserError(
            "README.md states license 'other', as the terms of an input are unclear: read them, and if you may "
            "publish, say why with --accept-licence TEXT"
        )

"""What a family of foreign checkpoints is, and the register of all of them."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from .checkpoint import Checkpoint, Encoder
from .mapping import Ignorable, Rule
from .preprocessing import Published


@dataclass(frozen=True)
class Options:
    """What the caller says about a checkpoint that does not say it itself.

    Attributes:
        num_heads: Number of attention heads; a file of weights does not hold it.
        num_register_tokens: How many registers a file rightly has, where its family has another number.
        image_size: Height and width in pixels of the image that the learned positions belong to.
    """

    num_heads: int | None = None
    num_register_tokens: int | None = None
    image_size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Plan:
    """How one encoder becomes a ZEN.

    Attributes:
        config: Fields of `ZenConfig`.
        rules: Fill every weight of that ZEN.
        ignorables: Source keys to leave behind.
        tensors: The source weights, by the keys that the rules name.
        preprocessing: Settings of the processor, where the family reads them out of the weights or the config.
        notes: Sentences for the user: what differs from the original, and where.
    """

    config: dict[str, Any]
    rules: list[Rule]
    ignorables: tuple[Ignorable, ...]
    tensors: dict[str, torch.Tensor]
    preprocessing: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)


Planner = Callable[[Checkpoint, Encoder, Options], Plan]
Licence = Callable[[Checkpoint], str | None] | str | None


@dataclass(frozen=True)
class Family:
    """A kind of foreign checkpoint.

    Attributes:
        name: What the caller types.
        summary: One line for `--help` and messages.
        marker: A weight that every encoder of the family has; tells where in a checkpoint it is.
        plan: Makes the plan.
        model_type: Of config.json, if the family is one of transformers.
        published: Preprocessing, if the family is one of bare files that were all published with the same.
        licence: Of the published weights, if it is the same for all of them; or what finds it out. A non-commercial one
            holds whatever the model card says.
    """

    name: str
    summary: str
    marker: str
    plan: Planner
    model_type: str | None = None
    published: Published | None = None
    licence: Licence = None


FAMILIES: dict[str, Family] = {}


def register(
    name: str,
    summary: str,
    *,
    marker: str,
    model_type: str | None = None,
    published: Published | None = None,
    licence: Licence = None,
) -> Callable[[Planner], Planner]:
    """Decorator that files the decorated planner as the family `name`; a second one of that name is an error."""

    def add(plan: Planner) -> Planner:
        if name in FAMILIES:
            raise RuntimeError(f"family {name!r} is registered twice")
        FAMILIES[name] = Family(name, summary, marker, plan, model_type, published, licence)
        return plan

    return add


def find_family(name: str | None, checkpoint: Checkpoint) -> Family:
    """The family the caller names, or the one that config.json tells.

    Raises:
        ValueError: There is no such family (all names are listed), nothing tells it, or caller and config disagree.
    """
    if name is not None and name not in FAMILIES:
        close = difflib.get_close_matches(name, FAMILIES, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(f"unknown family {name!r}; {hint}known are {', '.join(sorted(FAMILIES))}")
    told = _told_by_config(checkpoint)
    if name is not None:
        family = FAMILIES[name]
        if told is not None and family.model_type is not None and told is not family:
            raise ValueError(f"config.json of {checkpoint.name} tells family {told.name!r}, not {name!r}")
        if family.model_type is not None and told is None:
            raise ValueError(
                f"family {name!r} needs a folder with a config.json; {checkpoint.name} has none of that type"
            )
        return family
    if told is None:
        model_type = (checkpoint.config or {}).get("model_type")
        kind = f"is of model_type {model_type!r}" if model_type else "does not tell its family"
        raise ValueError(f"{checkpoint.name} {kind}: name one of {', '.join(sorted(FAMILIES))}")
    return told


def _told_by_config(checkpoint: Checkpoint) -> Family | None:
    config = checkpoint.config or {}
    if "pretrained_cfg" in config or ("architecture" in config and "model_type" not in config):
        return FAMILIES["timm_vit"]
    model_type = config.get("model_type")
    if model_type is None:
        return None
    return next((family for family in FAMILIES.values() if family.model_type == model_type), None)

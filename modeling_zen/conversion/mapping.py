"""From the keys of a foreign checkpoint to those of `ZenModel`: every key is used once or dropped with a reason.

A family describes itself by `Rule`s, each from some source keys of a known shape to some keys of ZEN, and by
`Ignorable`s, the keys that are left behind and why. `map_weights` applies them and refuses anything else.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch

from ..modeling_zen import first_few

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Rule:
    """Some source tensors become some tensors of ZEN.

    Attributes:
        sources: Source keys and the shape each must have. Empty for a constant.
        targets: Keys of `ZenModel`. Empty for a tensor that the family has read for its config.
        compute: Takes the source tensors in order (float32), returns the target tensors in order.
        made_of: What a constant stands for, for the report.
    """

    sources: tuple[tuple[str, Shape], ...]
    targets: tuple[str, ...]
    compute: Callable[..., Sequence[torch.Tensor]]
    made_of: str = ""


@dataclass(frozen=True)
class Ignorable:
    """Source keys that ZEN has no use for: a regular expression for the whole key, and the reason in words."""

    pattern: str
    reason: str


@dataclass
class KeyReport:
    """What became of the keys; goes into conversion.json.

    Attributes:
        mapped: Number of source keys that were used.
        filled: Number of keys of ZEN that were filled.
        dropped: Source keys that were left behind, and why.
        made: Keys of ZEN that no source key stands behind, and what they were filled with.
    """

    mapped: int = 0
    filled: int = 0
    dropped: dict[str, str] = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)


def same(source: str, target: str, shape: Shape) -> Rule:
    """The tensor as it is."""
    return Rule(((source, shape),), (target,), lambda tensor: (tensor,))


def constant(target: str, shape: Shape, value: float, made_of: str) -> Rule:
    """A tensor of one value for what the foreign model does not have."""
    return Rule((), (target,), lambda: (torch.full(shape, value),), made_of=made_of)


def only_read(source: str, shape: Shape) -> Rule:
    """A tensor that went into the config and has no place in ZEN."""
    return Rule(((source, shape),), (), lambda _: ())


def map_weights(
    tensors: dict[str, torch.Tensor], rules: Iterable[Rule], ignorables: Iterable[Ignorable], description: str
) -> tuple[dict[str, torch.Tensor], KeyReport]:
    """Apply `rules` to `tensors`.

    Args:
        tensors: The source, by key.
        rules: No two may share a source or a target (an error of the family, not of the source).
        ignorables: Apply to keys that no rule names.
        description: Of source and family, for messages.

    Returns:
        The state dict of `ZenModel`, float32, each tensor with memory of its own; and the report.

    Raises:
        ValueError: Source keys are missing, unknown, of another shape, or hold NaN or infinity. All are named.
    """
    rules = list(rules)
    expected = {key: shape for rule in rules for key, shape in rule.sources}
    if len(expected) != sum(len(rule.sources) for rule in rules):
        raise RuntimeError("two rules read the same source key")
    report = KeyReport(mapped=len(expected))
    unknown = []
    for key in sorted(tensors.keys() - expected.keys()):
        reason = next((entry.reason for entry in ignorables if re.fullmatch(entry.pattern, key)), None)
        if reason is None:
            unknown.append(key)
        else:
            report.dropped[key] = reason
    present = [(key, shape) for key, shape in expected.items() if key in tensors]
    faults = {
        "missing": sorted(expected.keys() - tensors.keys()),
        "unknown": unknown,
        "of another shape": [
            f"{key} is {tuple(tensors[key].shape)}, not {shape}"
            for key, shape in present
            if tuple(tensors[key].shape) != shape
        ],
        "with NaN or infinity": [key for key, _ in present if not bool(tensors[key].isfinite().all())],
    }
    if any(faults.values()):
        texts = [f"{len(keys)} {fault}: {first_few(keys)}" for fault, keys in faults.items() if keys]
        raise ValueError(f"{description} does not hold exactly the weights of that family: {'; '.join(texts)}")

    state: dict[str, torch.Tensor] = {}
    for rule in rules:
        results = rule.compute(*(tensors[key].float() for key, _ in rule.sources))
        for target, result in zip(rule.targets, results, strict=True):
            if target in state:
                raise RuntimeError(f"two rules fill {target}")
            state[target] = result.detach().clone(memory_format=torch.contiguous_format)
            if rule.made_of:
                report.made[target] = rule.made_of
    report.filled = len(state)
    return state, report


def count_layers(keys: Iterable[str], pattern: str) -> int:
    """How many layers a source has: one more than the largest number that group 1 of `pattern` finds in a key.

    A hole in between shows later, as missing keys.
    """
    numbers = [int(found[1]) for key in keys if (found := re.match(pattern, key))]
    return max(numbers, default=-1) + 1


def renamed(tensors: dict[str, torch.Tensor], names: Sequence[tuple[str, str]]) -> dict[str, torch.Tensor]:
    """Each key after the first regular expression of `names` that fits; `ValueError` if two become one."""
    result: dict[str, torch.Tensor] = {}
    for key, tensor in tensors.items():
        new = key
        for pattern, replacement in names:
            new, count = re.subn(pattern, replacement, key)
            if count:
                break
        if new in result:
            raise ValueError(f"the source holds {new} under two names, one of them {key}")
        result[new] = tensor
    return result

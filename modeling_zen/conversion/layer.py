"""The rules for one transformer layer, which all families spell differently and compute alike."""

from dataclasses import dataclass

import torch

from .mapping import Rule, Shape, constant, same


@dataclass(frozen=True)
class LayerNames:
    """What a family calls the parts of a layer, relative to the prefix of the layer.

    Attributes:
        norm1: LayerNorm before the attention.
        norm2: LayerNorm before the MLP.
        query, key, value: The three projections; all empty if `qkv` is one.
        qkv: The three stacked in this order.
        qkv_bias_mask: What the stacked bias is multiplied by before use, if the file holds it.
        output: The projection behind the attention.
        up, down: The MLP; of a gated one, `up` is the branch without activation.
        gate: The branch of a gated MLP that goes through the activation.
        gate_up: Both stacked, gate first.
        scale1, scale2: The LayerScale vectors; empty if the model has none.
    """

    norm1: str
    norm2: str
    output: str
    up: str
    down: str
    query: str = ""
    key: str = ""
    value: str = ""
    qkv: str = ""
    qkv_bias_mask: str = ""
    gate: str = ""
    gate_up: str = ""
    scale1: str = ""
    scale2: str = ""


@dataclass(frozen=True)
class LayerShape:
    """Widths and biases of a layer.

    Attributes:
        width: Channels of a token.
        intermediate: Channels within the MLP.
        qkv_biases: Whether query, key and value have a bias. ZEN has all or none: the rest is filled with zeros.
        output_bias: Whether the projection behind the attention has one; otherwise zeros.
        mlp_bias: Whether the linear layers of the MLP have one; otherwise zeros.
    """

    width: int
    intermediate: int
    qkv_biases: tuple[bool, bool, bool] = (True, True, True)
    output_bias: bool = True
    mlp_bias: bool = True


def layer_rules(source: str, index: int, names: LayerNames, shape: LayerShape) -> list[Rule]:
    """Rules that fill layer `index` of ZEN from the layer whose keys begin with `source` (dot included)."""
    width, inner = shape.width, shape.intermediate
    target = f"layers.{index}."
    rules = []
    for norm, name in (("norm1", names.norm1), ("norm2", names.norm2)):
        rules += [same(f"{source}{name}.{part}", f"{target}{norm}.{part}", (width,)) for part in ("weight", "bias")]
    rules += _attention_rules(source, target, names, shape)
    rules += _linear(source + names.output, f"{target}attention.o_proj", (width, width), shape.output_bias)
    if names.gate_up:
        for part, size in (("weight", (2 * inner, width)), ("bias", (2 * inner,))):
            rules.append(
                Rule(
                    ((f"{source}{names.gate_up}.{part}", size),),
                    (f"{target}mlp.gate_proj.{part}", f"{target}mlp.up_proj.{part}"),
                    lambda stacked: stacked.chunk(2),
                )
            )
    else:
        rules += _linear(source + names.up, f"{target}mlp.up_proj", (inner, width), shape.mlp_bias)
        if names.gate:
            rules += _linear(source + names.gate, f"{target}mlp.gate_proj", (inner, width), shape.mlp_bias)
    rules += _linear(source + names.down, f"{target}mlp.down_proj", (width, inner), shape.mlp_bias)
    for scale, name in (("layer_scale1", names.scale1), ("layer_scale2", names.scale2)):
        if name:
            rules.append(same(source + name, f"{target}{scale}.scale", (width,)))
        else:
            rules.append(constant(f"{target}{scale}.scale", (width,), 1.0, "ones: the source has no LayerScale"))
    return rules


def _attention_rules(source: str, target: str, names: LayerNames, shape: LayerShape) -> list[Rule]:
    width, parts = shape.width, ("q_proj", "k_proj", "v_proj")
    if not names.qkv:
        rules = []
        for part, name, bias in zip(parts, (names.query, names.key, names.value), shape.qkv_biases, strict=True):
            target_name = f"{target}attention.{part}"
            if any(shape.qkv_biases):
                rules += _linear(source + name, target_name, (width, width), bias)
            else:
                rules.append(same(f"{source}{name}.weight", f"{target_name}.weight", (width, width)))
        return rules
    rules = [
        Rule(
            ((f"{source}{names.qkv}.weight", (3 * width, width)),),
            tuple(f"{target}attention.{part}.weight" for part in parts),
            lambda stacked: stacked.chunk(3),
        )
    ]
    if any(shape.qkv_biases):
        biases: tuple[tuple[str, Shape], ...] = ((f"{source}{names.qkv}.bias", (3 * width,)),)
        if names.qkv_bias_mask:
            biases += ((source + names.qkv_bias_mask, (3 * width,)),)
        targets = tuple(f"{target}attention.{part}.bias" for part in parts)
        rules.append(Rule(biases, targets, _masked_thirds))
    return rules


def _masked_thirds(bias: torch.Tensor, mask: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
    if mask is not None and not bool(((mask == 0) | (mask == 1)).all()):
        raise ValueError("a bias_mask of the source holds other values than 0 and 1")
    return (bias if mask is None else bias * mask).chunk(3)


def _linear(source: str, target: str, shape: tuple[int, int], bias: bool) -> list[Rule]:
    rules = [same(f"{source}.weight", f"{target}.weight", shape)]
    if bias:
        rules.append(same(f"{source}.bias", f"{target}.bias", shape[:1]))
    else:
        rules.append(constant(f"{target}.bias", shape[:1], 0.0, "zeros: the source has no such bias"))
    return rules


def norm_rules(source: str, width: int) -> list[Rule]:
    """The LayerNorm behind the last layer."""
    return [same(f"{source}.{part}", f"norm.{part}", (width,)) for part in ("weight", "bias")]


def patch_rules(source: str, width: int, channels: int, patch: int) -> list[Rule]:
    """The convolution that turns patches into tokens."""
    target = "embeddings.patch_embeddings"
    return [
        same(f"{source}.weight", f"{target}.weight", (width, channels, patch, patch)),
        same(f"{source}.bias", f"{target}.bias", (width,)),
    ]

"""The part of a ViT that timm, DINO, DINOv2 and DINOv3 name alike in files of their own: patch_embed.proj, blocks.N."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from .layer import LayerNames, LayerShape, layer_rules, norm_rules, patch_rules
from .mapping import Rule, Shape, count_layers


@dataclass(frozen=True)
class FusedTrunk:
    """Sizes that a file shows by the shapes of its weights.

    Attributes:
        shapes: Of every weight, by key.
        width: Channels of a token.
        patch: Side of a patch in pixels.
        num_channels: Of an image.
        num_layers: Layers.
        has_qkv_bias: Whether any layer has a bias on queries, keys and values, stacked in one.
    """

    shapes: dict[str, Shape]
    width: int
    patch: int
    num_channels: int
    num_layers: int
    has_qkv_bias: bool

    def intermediate(self, down: str) -> int:
        """Channels within the MLP, whose last linear layer is called `down`; 4 * width where it is missing."""
        return self.shapes.get(f"blocks.0.{down}.weight", (self.width, 4 * self.width))[-1]

    def rules(self, names: LayerNames, qkv_bias: bool) -> list[Rule]:
        """Rules for the patches, all layers and the LayerNorm behind them."""
        rules = patch_rules("patch_embed.proj", self.width, self.num_channels, self.patch)
        shape = LayerShape(self.width, self.intermediate(names.down), (qkv_bias,) * 3)
        for index in range(self.num_layers):
            rules += layer_rules(f"blocks.{index}.", index, names, shape)
        return rules + norm_rules("norm", self.width)

    def config(self, names: LayerNames, qkv_bias: bool, heads: int) -> dict[str, Any]:
        """Fields of `ZenConfig`: what the shapes tell, and the LayerNorm of timm and DINO (eps 1e-6)."""
        return {
            "hidden_size": self.width,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": heads,
            "intermediate_size": self.intermediate(names.down),
            "mlp": "swiglu" if names.gate or names.gate_up else "gelu",
            "patch_size": self.patch,
            "num_channels": self.num_channels,
            "layerscale_value": 1e-5 if names.scale1 else 1.0,  # before training; the weights hold what became of it
            "layer_norm_eps": 1e-6,
            "qkv_bias": qkv_bias,
        }


def read_trunk(
    tensors: Mapping[str, torch.Tensor], required: tuple[tuple[str, int], ...], family: str, name: str
) -> FusedTrunk:
    """The sizes of the encoder in `tensors`.

    Args:
        tensors: Weights by key.
        required: Keys that the family has beside class token and patches, and how many axes each has.
        family: For messages.
        name: Of the source, for messages.

    Raises:
        ValueError: A required weight is missing or has another number of axes.
    """
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    required = (("cls_token", 3), *required, ("patch_embed.proj.weight", 4))
    absent = [key for key, axes in required if len(shapes.get(key, ())) != axes]
    if absent:
        raise ValueError(f"{name} lacks {', '.join(absent)} in the form that {family} has")
    return FusedTrunk(
        shapes=shapes,
        width=shapes["cls_token"][-1],
        patch=shapes["patch_embed.proj.weight"][-1],
        num_channels=shapes["patch_embed.proj.weight"][1],
        num_layers=count_layers(shapes, r"blocks\.(\d+)\."),
        has_qkv_bias=any(key.endswith(".attn.qkv.bias") for key in shapes),
    )

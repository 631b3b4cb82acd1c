"""GSViT from a file in the names of Microsoft's EfficientViT, with the decoder of its pretraining."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from evaluation.backbones.peers import gsvit


@pytest.fixture
def source(randomize: Callable[..., Any]) -> Any:
    return randomize(gsvit.new_gsvit(), noise=0.02)  # with more, rounding of float32 grows from layer to layer


def write(weights: Any) -> dict[str, torch.Tensor]:
    """A sequence of patch embedding (a ReLU between two convolutions) and three stages."""
    names = [
        *((rf"^patch_embed\.conv{index + 1}\.", f"0.{2 * index}.") for index in range(4)),
        (r"^stages\.0\.blocks\.", "1."),
        *(
            (rf"^stages\.{s}\.downsample\.{part}\.", f"{s + 1}.{place}.")
            for s in (1, 2)
            for place, part in enumerate(("res1", "patchmerge", "res2"))
        ),
        *((rf"^stages\.{s}\.blocks\.{block}\.", f"{s + 1}.{block + 3}.") for s in (1, 2) for block in range(4)),
    ]
    result = {}
    for key, tensor in weights.items():
        for pattern, replacement in names:
            key, count = re.subn(pattern, replacement, key)
            if count:
                break
        # the squeeze-and-excite layers are plain convolutions, without a norm
        result["evit." + re.sub(r"(?<!\.se)\.conv\.weight$", ".c.weight", key)] = tensor
    extra = {"decoder.0.weight": torch.ones(2), "evit.1.0.mixer.m.attn.attention_bias_idxs": torch.zeros(49, 49).long()}
    return {**result, **extra}


def test_features(source: Any, save: Any, check_features: Any, check_training: Any) -> None:
    def tokens(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        dense = source.forward_features(pixels)
        return dense.mean(dim=(2, 3)), dense

    file = save(write(source.state_dict()), "GSViT.pkl")
    plain = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "bgr": True}
    check_training(check_features("gsvit", file, tokens, size=224, mode="bilinear", **plain))


def test_refusals(source: Any, check_refusals: Any) -> None:
    check_refusals("gsvit", write, source.state_dict(), "stages.1.blocks.0.ffn0.m.pw1.conv.weight")

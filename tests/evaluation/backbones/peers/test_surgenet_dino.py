"""SurgeNetDINO; that its DINOv2 and DINOv3 compute the same is tested with their converters."""

from typing import Any

import numpy as np
import pytest
import timm
import torch

from evaluation.backbones.peers import PEERS, load_peer
from training.errors import UserError

CPU = torch.device("cpu")
WIDTH, LAYERS, HEADS = 32, 2, 2


def dinov3_weights() -> dict[str, torch.Tensor]:
    """As published: no registers, a bias for queries, keys and values, gamma_1, periods in bfloat16."""
    generator = torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, WIDTH),
        "mask_token": (1, WIDTH),
        "patch_embed.proj.weight": (WIDTH, 3, 16, 16),
        "patch_embed.proj.bias": (WIDTH,),
        "norm.weight": (WIDTH,),
        "norm.bias": (WIDTH,),
    }
    for layer in range(LAYERS):
        block = {
            "norm1.weight": (WIDTH,),
            "norm1.bias": (WIDTH,),
            "attn.qkv.weight": (3 * WIDTH, WIDTH),
            "attn.qkv.bias": (3 * WIDTH,),
            "attn.proj.weight": (WIDTH, WIDTH),
            "attn.proj.bias": (WIDTH,),
            "gamma_1": (WIDTH,),
            "norm2.weight": (WIDTH,),
            "norm2.bias": (WIDTH,),
            "mlp.fc1.weight": (64, WIDTH),
            "mlp.fc1.bias": (64,),
            "mlp.fc2.weight": (WIDTH, 64),
            "mlp.fc2.bias": (WIDTH,),
            "gamma_2": (WIDTH,),
        }
        shapes |= {f"blocks.{layer}.{key}": shape for key, shape in block.items()}
    weights = {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}
    periods = WIDTH // HEADS // 4
    return weights | {"rope_embed.periods": (100 ** (torch.arange(periods) / periods)).to(torch.bfloat16)}


def test_dinov1(randomize: Any, save: Any, check_features: Any, check_training: Any, check_refusals: Any) -> None:
    source = randomize(timm.create_model("vit_tiny_patch16_224", num_classes=0))

    def tokens(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = source.forward_features(pixels)
        return hidden[:, 0], hidden[:, 1:].transpose(1, 2).unflatten(2, (14, 14))

    file = save(source.state_dict())
    check_training(check_features("surgenet_dinov1_s", file, tokens, size=224, mode="bicubic"))
    check_refusals("surgenet_dinov1_s", dict, source.state_dict(), "blocks.0.mlp.fc1.weight")


def test_dinov3(save: Any, check_training: Any, check_refusals: Any) -> None:
    backbone = load_peer("surgenet_dinov3_s", save(dinov3_weights()), CPU)
    features = backbone.extract(np.zeros((1, 50, 50, 3), dtype=np.uint8))
    assert features.summary.shape == (1, WIDTH)
    assert features.dense.shape == (1, WIDTH, 21, 21)  # 336 pixels, patches of 16
    check_training(backbone)
    check_refusals("surgenet_dinov3_s", dict, dinov3_weights(), "blocks.1.attn.proj.weight")


def test_dinov3_with_registers_is_another_model(save: Any) -> None:
    weights = dinov3_weights() | {"storage_tokens": torch.ones(1, 4, WIDTH)}
    with pytest.raises(UserError, match=r"peer 'surgenet_dinov3_b': .*4 registers .*which its family has not"):
        load_peer("surgenet_dinov3_b", save(weights), CPU)


def test_dinov2_without_registers_is_another_model(save: Any) -> None:
    source = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    with pytest.raises(UserError, match=r"peer 'surgenet_dinov2_s': .*holds no registers"):
        load_peer("surgenet_dinov2_s", save(source.state_dict()), CPU)


def test_files_are_named_as_on_the_hub() -> None:
    assert PEERS.get("surgenet_dinov2_b").source == (
        "rlpddejong/SurgeNetXL_DINOv1-v3/DINOv2_ViTb14_size336_SurgeNetXL.pth"
    )
    assert PEERS.get("surgenet_dinov1_s").source.endswith("/DINOv1_ViTs16_size224_SurgeNetXL.pth")

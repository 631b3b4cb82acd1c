"""Endo-FM from a file of SVT; the source of the features is the TimeSformer of transformers."""

import argparse
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import TimesformerConfig, TimesformerModel

from evaluation.backbones.peers import load_peer
from training.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture
def source(randomize: Callable[..., Any]) -> Any:
    config = TimesformerConfig(
        hidden_size=192, num_hidden_layers=12, num_attention_heads=3, intermediate_size=96, num_frames=1
    )
    return randomize(TimesformerModel(config))


@pytest.fixture
def write(below: Any) -> Callable[..., Any]:
    def checkpoint(weights: Any) -> dict[str, Any]:
        names = [
            (r"^embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
            (r"^embeddings\.cls_token", "cls_token"),
            (r"^embeddings\.position_embeddings", "pos_embed"),
            (r"^embeddings\.time_embeddings", "time_embed"),
            (r"^encoder\.layer", "blocks"),
            (r"\.attention\.attention\.qkv", ".attn.qkv"),
            (r"\.temporal_attention\.attention\.qkv", ".temporal_attn.qkv"),
            (r"\.temporal_attention\.output\.dense", ".temporal_attn.proj"),
            (r"\.attention\.output\.dense", ".attn.proj"),
            (r"temporal_layernorm", "temporal_norm1"),
            (r"layernorm_before", "norm1"),
            (r"layernorm_after", "norm2"),
            (r"temporal_dense", "temporal_fc"),
            (r"intermediate\.dense", "mlp.fc1"),
            (r"(blocks\.\d+)\.output\.dense", r"\1.mlp.fc2"),
            (r"^layernorm", "norm"),
        ]
        named = {}
        for key, tensor in weights.items():
            for pattern, replacement in names:
                key = re.sub(pattern, replacement, key)
            named[key] = tensor
        if "time_embed" in named:  # eight moments, of which a single frame sees the first
            first = named["time_embed"]
            named["time_embed"] = torch.cat([first, torch.full_like(first, 9.0).expand(1, 7, -1)], dim=1)
        head = {"head.mlp.0.weight": torch.ones(2)}
        zeros = {key: torch.zeros_like(tensor) for key, tensor in named.items()}
        return {
            "student": below("module.backbone.", zeros) | below("module.", head),
            "teacher": below("backbone.", named) | head,
            "args": argparse.Namespace(lr=1.0),
        }

    return checkpoint


def test_features(source: Any, write: Any, save: Any, check_features: Any, check_training: Any) -> None:
    def tokens(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = source(pixels[:, None]).last_hidden_state
        return hidden[:, 0], hidden[:, 1:].transpose(1, 2).unflatten(2, (14, 14))

    file = save(write(source.state_dict()))
    check_training(check_features("endo_fm", file, tokens, size=224, mode="bicubic"))


def test_refusals(source: Any, write: Any, check_refusals: Any) -> None:
    check_refusals("endo_fm", write, source.state_dict(), "encoder.layer.2.temporal_dense.weight")


def test_without_what_tells_the_size(source: Any, write: Any, save: Any) -> None:
    weights = {key: tensor for key, tensor in source.state_dict().items() if "layer.0.intermediate" not in key}
    with pytest.raises(UserError, match=r"holds no blocks\.0\.mlp\.fc1\.weight, which every TimeSformer has"):
        load_peer("endo_fm", save(write(weights)), CPU)

"""PL-Stitch from a file of iBOT: the teacher is taken, heads and the student are left."""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch


@pytest.fixture
def source(randomize: Callable[..., Any]) -> Any:
    return randomize(timm.create_model("vit_tiny_patch16_224", num_classes=0))


@pytest.fixture
def write(below: Any) -> Callable[..., Any]:
    def checkpoint(weights: Any) -> dict[str, Any]:
        head = {"module.head.mlp.0.weight": torch.ones(2), "module.head.last_layer.weight_g": torch.ones(1)}
        student = {key: torch.zeros_like(tensor) for key, tensor in weights.items()} | {
            "masked_embed": torch.ones(1, 4)
        }
        prefixed = {
            name: below("module.backbone.", part) | head for name, part in (("student", student), ("teacher", weights))
        }
        return {**prefixed, "epoch": 30}

    return checkpoint


def tokens_of(source: Any) -> Any:
    def tokens(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = source.forward_features(pixels)
        return hidden[:, 0], hidden[:, 1:].transpose(1, 2).unflatten(2, (14, 14))

    return tokens


def test_features(source: Any, write: Any, save: Any, check_features: Any, check_training: Any) -> None:
    file = save(write(source.state_dict()))
    check_training(check_features("pl_stitch", file, tokens_of(source), size=224, mode="bilinear"))


def test_bare_weights(source: Any, save: Any, check_features: Any) -> None:
    check_features("pl_stitch", save(source.state_dict()), tokens_of(source), size=224, mode="bilinear")


def test_refusals(source: Any, write: Any, check_refusals: Any) -> None:
    check_refusals("pl_stitch", write, source.state_dict(), "blocks.0.mlp.fc1.weight")

"""EndoViT from a file as its training writes it: a decoder of MAE and the settings of the run beside the encoder."""

import argparse
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch

from evaluation.backbones.peers import load_peer
from training.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture
def source(randomize: Callable[..., Any]) -> Any:
    return randomize(timm.create_model("vit_tiny_patch16_224", num_classes=0))


def write(weights: Any) -> dict[str, Any]:
    decoder = {
        "mask_token": torch.ones(1, 1, 4),
        "decoder_embed.weight": torch.ones(2),
        "decoder_pred.bias": torch.ones(1),
    }
    return {"model": {**weights, **decoder}, "args": argparse.Namespace(lr=0.1, norm=(1, 2)), "epoch": 14}


def test_features(source: Any, save: Any, check_features: Any, check_training: Any) -> None:
    def tokens(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = source.forward_features(pixels)
        return hidden[:, 0], hidden[:, 1:].transpose(1, 2).unflatten(2, (14, 14))

    file = save(write(source.state_dict()), "pytorch_model.bin")
    mean, std = (0.3464, 0.2280, 0.2228), (0.2520, 0.2128, 0.2093)
    check_training(check_features("endovit", file, tokens, size=224, mode="bilinear", mean=mean, std=std))


def test_refusals(source: Any, check_refusals: Any) -> None:
    check_refusals("endovit", write, source.state_dict(), "blocks.3.attn.proj.weight")


def test_what_could_run_code_is_not_opened(save: Any) -> None:
    with pytest.raises(UserError, match=r"peer 'endovit': .*a pickle with more than tensors in it.*was not opened"):
        load_peer("endovit", save({"model": {}, "callback": print}), CPU)


def test_size_without_published_heads(randomize: Any, save: Any) -> None:
    source = randomize(timm.create_model("vit_tiny_patch16_224", num_classes=0, depth=2))
    with pytest.raises(UserError, match="192 wide and has 2 layers, which is no published size"):
        load_peer("endovit", save(write(source.state_dict())), CPU)

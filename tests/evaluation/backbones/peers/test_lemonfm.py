"""LemonFM from a file of DINO whose backbone is torchvision's ConvNeXt, which is the source of the features here."""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt

from evaluation.backbones.peers import lemonfm

WIDTHS = (8, 16, 24, 32)


@pytest.fixture
def source(randomize: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A small torchvision ConvNeXt with as large layer scales as matter; the builder makes one of that size."""
    new = lemonfm.new_lemonfm
    assert new.__module__ == lemonfm.__name__
    monkeypatch.setattr(
        lemonfm,
        "new_lemonfm",
        lambda: timm.create_model("convnext_large", num_classes=0, depths=(1, 1, 2, 1), dims=WIDTHS),
    )
    out = (*WIDTHS[1:], None)
    settings = [
        CNBlockConfig(width, after, depth) for width, after, depth in zip(WIDTHS, out, (1, 1, 2, 1), strict=True)
    ]
    model = ConvNeXt(settings)
    model.classifier[2] = nn.Identity()
    return randomize(model)


@pytest.fixture
def write(below: Any) -> Callable[..., Any]:
    def checkpoint(weights: Any) -> dict[str, Any]:
        head = {"head.mlp.0.weight": torch.ones(2), "head.last_layer.weight_v": torch.ones(1)}
        student = {key: torch.zeros_like(tensor) for key, tensor in weights.items()}
        return {
            "student": below("module.", below("backbone.", student) | head),
            "teacher": below("backbone.", weights) | head,
            "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
            "epoch": 9,
        }

    return checkpoint


def test_features(source: Any, write: Any, save: Any, check_features: Any, check_training: Any) -> None:
    file = save(write(source.state_dict()))
    tokens = lambda pixels: (source(pixels), source.features(pixels))  # noqa: E731
    check_training(check_features("lemonfm", file, tokens, size=224, mode="bicubic"))


def test_refusals(source: Any, write: Any, check_refusals: Any) -> None:
    check_refusals("lemonfm", write, source.state_dict(), "features.1.0.block.3.weight")


def test_size_of_the_released_model() -> None:
    with torch.device("meta"):
        model = lemonfm.new_lemonfm()
    assert model.num_features == 1536
    assert (
        sum(parameter.numel() for parameter in model.parameters()) == 197_767_336 - 1_537_000
    )  # torchvision's, without its last layer

"""The image towers of SurgVLP, HecVL and PeskaVLP: torchvision's ResNet, the text tower is left."""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from timm.models.resnet import Bottleneck as TimmBottleneck
from timm.models.resnet import ResNet as TimmResNet
from torch import nn
from torchvision.models.resnet import Bottleneck, ResNet

from evaluation.backbones.peers import surgvlp


@pytest.fixture
def source(randomize: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(surgvlp, "new_resnet", lambda: TimmResNet(TimmBottleneck, (1, 1, 1, 1), num_classes=0))
    model = ResNet(Bottleneck, [1, 1, 1, 1])
    model.fc = nn.Identity()
    return randomize(model)


def write(weights: Any) -> dict[str, torch.Tensor]:
    tower = {f"backbone_img.model.{key}": tensor for key, tensor in weights.items()}
    return tower | {
        "backbone_img.global_embedder.weight": torch.ones(2, 2),
        "backbone_text.model.embeddings.word_embeddings.weight": torch.ones(2, 2),
    }


@pytest.mark.parametrize("name", ["surgvlp", "hecvl", "peskavlp"])
def test_features(name: str, source: Any, save: Any, check_features: Any, check_training: Any) -> None:
    def tokens(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        dense = nn.Sequential(*list(source.children())[:-2])(pixels)
        return source(pixels), dense

    backbone = check_features(name, save(write(source.state_dict())), tokens, size=224, mode="bilinear")
    if name == "surgvlp":  # the others differ in their weights only
        check_training(backbone)


def test_refusals(source: Any, check_refusals: Any) -> None:
    check_refusals("peskavlp", write, source.state_dict(), "layer3.0.conv2.weight")


def test_size_of_the_released_model() -> None:
    with torch.device("meta"):
        ours, usual = surgvlp.new_resnet(), timm.create_model("resnet50", num_classes=0)
    assert ours.state_dict().keys() == usual.state_dict().keys()
    assert ours.num_features == 2048

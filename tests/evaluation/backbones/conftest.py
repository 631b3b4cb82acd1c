"""Tiny random vision models of several kinds, saved as the folders that a Hub id stands for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from transformers import (
    ConvNextConfig,
    ConvNextImageProcessor,
    ConvNextModel,
    Dinov2Config,
    Dinov2Model,
    SiglipImageProcessor,
    SiglipVisionConfig,
    SiglipVisionModel,
    TimmWrapperConfig,
    TimmWrapperModel,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    VJEPA2Config,
    VJEPA2Model,
    VJEPA2VideoProcessor,
)

SIZES: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def _dinov2(folder: Path) -> None:
    Dinov2Model(Dinov2Config(**SIZES, mlp_ratio=2, patch_size=14, image_size=56)).save_pretrained(folder)
    ViTImageProcessor(size={"height": 56, "width": 56}).save_pretrained(folder)


def _siglip(folder: Path) -> None:
    config = SiglipVisionConfig(**SIZES, intermediate_size=32, image_size=32, patch_size=16)
    SiglipVisionModel(config).save_pretrained(folder)
    SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)


def _vit(folder: Path) -> None:
    config = ViTConfig(**SIZES, intermediate_size=32, image_size=32, patch_size=16)
    ViTForImageClassification(config).save_pretrained(folder)  # a head to be left out, and no pooler
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)


def _convnext(folder: Path) -> None:
    ConvNextModel(ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1])).save_pretrained(folder)
    ConvNextImageProcessor().save_pretrained(folder)


def _vjepa2(folder: Path) -> None:
    predictor: dict[str, Any] = {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
    config = VJEPA2Config(**SIZES, mlp_ratio=2, crop_size=32, patch_size=8, frames_per_clip=4, **predictor)
    VJEPA2Model(config).save_pretrained(folder)
    VJEPA2VideoProcessor(crop_size=32).save_pretrained(folder)


def _timm_cnn(folder: Path) -> None:
    name = "test_efficientnet"
    config = TimmWrapperConfig(architecture=name, num_labels=0, pretrained_cfg=timm.create_model(name).pretrained_cfg)
    model = TimmWrapperModel(config)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # untrained statistics would hide whether they are used
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    model.save_pretrained(folder)


WRITERS: dict[str, Callable[[Path], None]] = {
    "convnext": _convnext,
    "dinov2": _dinov2,
    "siglip": _siglip,
    "timm_cnn": _timm_cnn,
    "vit": _vit,
    "vjepa2": _vjepa2,
}


@pytest.fixture(scope="session")
def vision_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders by kind of model; shared, so do not write into them."""
    root = tmp_path_factory.mktemp("vision_models")
    with torch.random.fork_rng():
        torch.manual_seed(7)  # not one of those that random_init is tested with
        for kind, write in WRITERS.items():
            write(root / kind)
    return {kind: root / kind for kind in WRITERS}

"""Shared by the tests of the model package: a tiny encoder, and a saved folder of it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from modeling_zen import ZenConfig, ZenImageProcessor, ZenModel

TINY: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_summary_tokens": 2,
    "num_register_tokens": 3,
    "image_size": 64,
}


@pytest.fixture
def config() -> ZenConfig:
    return ZenConfig(**TINY)


@pytest.fixture
def model(config: ZenConfig) -> ZenModel:
    torch.manual_seed(0)
    return ZenModel(config).eval()


@pytest.fixture
def pixels() -> torch.Tensor:
    """Two frames of 48 x 80 pixels: 3 rows, 5 columns."""
    return torch.randn(2, 3, 48, 80, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def folder(model: ZenModel, tmp_path: Path) -> Path:
    """A saved model with its processor, which makes images of 64 x 64 pixels."""
    model.save_pretrained(tmp_path / "zen")
    ZenImageProcessor(size={"height": 64, "width": 64}).save_pretrained(tmp_path / "zen")
    return tmp_path / "zen"

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


_DETECTOR: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "num_queries": 5,
    "num_labels": 3,
}
# Weights larger than by default: through layers this narrow the default ones let hardly a gradient pass.
_HYBRID = {**_DETECTOR, "encoder_hidden_dim": 32, "num_queries": 10, "num_denoising": 4, "initializer_range": 0.1}
_DEPTH: dict[str, Any] = {"neck_hidden_sizes": [8, 8, 8, 8], "fusion_hidden_size": 8, "initializer_range": 0.2}
# Fields that make each head of `HEAD_FAMILIES` tiny.
SMALL_HEADS: dict[str, dict[str, Any]] = {
    "upernet": {"hidden_size": 16, "auxiliary_channels": 16, "num_labels": 3, "initializer_range": 0.1},
    "mask2former": {
        "feature_size": 32,
        "mask_feature_size": 32,
        "hidden_dim": 32,
        "encoder_feedforward_dim": 32,
        "encoder_layers": 1,
        "decoder_layers": 3,
        "num_attention_heads": 4,
        "dim_feedforward": 32,
        "num_queries": 5,
        "train_num_points": 64,
        "num_labels": 3,
    },
    "dpt": _DEPTH,
    "depth_anything": {**_DEPTH, "head_hidden_size": 8},
    "zoedepth": {
        **_DEPTH,
        "bottleneck_features": 8,
        "num_relative_features": 8,
        "bin_embedding_dim": 8,
        "num_attractors": [4, 4, 2, 1],
    },
    "detr": _DETECTOR,
    "conditional_detr": _DETECTOR,
    "deformable_detr": {**_DETECTOR, "d_model": 64},  # its coarsest map can be one pixel, and 32 groups need two values
    "rt_detr": _HYBRID,
    "rt_detr_v2": _HYBRID,
    "d_fine": _HYBRID,
}


@pytest.fixture(scope="session")
def trunk_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved encoder of four layers, as many as heads read stages; do not write into it."""
    path = tmp_path_factory.mktemp("trunk") / "zen"
    with torch.random.fork_rng():
        torch.manual_seed(7)
        # Layers that do something: with the factor of a fresh model, all stages are nearly alike.
        ZenModel(ZenConfig(**{**TINY, "num_hidden_layers": 4, "layerscale_value": 1.0})).save_pretrained(path)
    ZenImageProcessor(size={"height": 64, "width": 64}, image_mean=[0.4, 0.3, 0.2]).save_pretrained(path)
    return path

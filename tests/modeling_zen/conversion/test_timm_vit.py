"""timm's ViT in its variants and EndoViT: equal tokens; a bare file must be told how images are normalised."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file as save_safetensors
from timm.data import create_transform, resolve_data_config
from timm.layers.mlp import SwiGLUPacked
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer

from modeling_zen.conversion import convert, convert_checkpoint

TINY: dict[str, Any] = {
    "img_size": 32,
    "patch_size": 8,
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 4,
    "mlp_ratio": 2,
    "dynamic_img_size": True,
    "num_classes": 0,
}
NORM: dict[str, Any] = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"qkv_bias": False, "num_classes": 3, "init_values": 0.1},
        {"reg_tokens": 3, "no_embed_class": True, "init_values": 1e-5},
        {"reg_tokens": 3},
        {"no_embed_class": True},
        {"mlp_layer": SwiGLUPacked, "act_layer": "silu", "mlp_ratio": 4},
    ],
)
def test_variants(changes: dict[str, Any], randomise: Any, save_file: Any, max_error: Any) -> None:
    original = randomise(VisionTransformer(**{**TINY, **changes}))
    registers = changes.get("reg_tokens", 0)
    file = save_file(original.state_dict())
    model, processor = convert(file, "timm_vit", num_heads=4, num_register_tokens=registers, **NORM)
    max_error(model, original.forward_features)
    assert list(processor.image_std) == NORM["image_std"]


def test_distilled(randomise: Any, save_file: Any, max_error: Any) -> None:
    original = randomise(VisionTransformerDistilled(**{**TINY, "num_classes": 2}))
    model, _ = convert(save_file({"model": original.state_dict()}), "timm_vit", num_heads=4, **NORM)
    assert model.config.num_summary_tokens == 2
    max_error(model, original.forward_features)


def test_no_square(randomise: Any, save_file: Any, max_error: Any) -> None:
    original = randomise(VisionTransformer(**{**TINY, "img_size": (24, 32)}))
    file = save_file(original.state_dict())
    with pytest.raises(ValueError, match="13 positions, which are not a square of patches and 0 or 1 other tokens"):
        convert(file, "timm_vit", num_heads=4, **NORM)
    with pytest.raises(ValueError, match=r"13 positions, which an image of \(24, 40\) pixels has not"):
        convert(file, "timm_vit", num_heads=4, image_size=(24, 40), **NORM)
    model, _ = convert(file, "timm_vit", num_heads=4, image_size=(24, 32), **NORM)
    max_error(model, original.forward_features)


def test_square_in_two_ways(randomise: Any, save_file: Any, max_error: Any) -> None:
    original = randomise(VisionTransformer(**{**TINY, "img_size": 16, "reg_tokens": 4}))
    file = save_file(original.state_dict())
    with pytest.raises(ValueError, match="9 positions, which are in several ways a square of patches and 0 or 5"):
        convert(file, "timm_vit", num_heads=4, **NORM)
    model, _ = convert(file, "timm_vit", num_heads=4, image_size=16, **NORM)
    max_error(model, original.forward_features)


@pytest.mark.parametrize(("architecture", "found"), [(None, "no"), ("vit_tiny_patch8_reg3_dinov2", "0")])
def test_lost_registers(architecture: str | None, found: str, randomise: Any, tmp_path: Path) -> None:
    weights = randomise(VisionTransformer(**TINY, reg_tokens=3, no_embed_class=True)).state_dict()
    weights.pop("reg_token")
    save_safetensors(weights, tmp_path / "model.safetensors")
    if architecture is not None:
        (tmp_path / "config.json").write_text(json.dumps({"architecture": architecture}))
    with pytest.raises(ValueError, match=f"holds {found} registers .reg_token., "):
        convert(tmp_path, "timm_vit", num_heads=4, **NORM)


def test_timm_folder(randomise: Any, tmp_path: Path, max_error: Any) -> None:
    original = randomise(VisionTransformer(**TINY))
    save_safetensors(original.state_dict(), tmp_path / "model.safetensors")
    published = {
        "input_size": [3, 32, 32],
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
        "interpolation": "bicubic",
        "crop_pct": 0.8,
    }
    config = {"architecture": "vit_tiny_patch8_32", "pretrained_cfg": published}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# A ViT\n")
    conversion = convert_checkpoint(tmp_path, num_heads=4)
    assert conversion.report["licence"] == "mit"
    settings = conversion.processor.to_dict()
    assert settings["size"] == {"shortest_edge": 40}
    assert settings["crop_size"] == {"height": 32, "width": 32}
    assert tuple(settings["image_std"]) == (0.25, 0.25, 0.25)
    max_error(conversion.model, original.forward_features)


@pytest.mark.parametrize(
    "published",
    [
        {"crop_pct": 0.8, "crop_mode": "center"},
        {"crop_pct": 0.8, "crop_mode": "squash"},
        {"crop_pct": 1.0, "crop_mode": "squash"},
        {},
    ],
)
def test_preprocessing_is_that_of_timm(published: dict[str, Any], randomise: Any, tmp_path: Path) -> None:
    save_safetensors(randomise(VisionTransformer(**TINY)).state_dict(), tmp_path / "model.safetensors")
    published |= {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic"}
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": published}))
    _, processor = convert(tmp_path, num_heads=4)
    noise = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    wanted: Any = create_transform(**resolve_data_config(pretrained_cfg=published))
    got = processor(noise, return_tensors="pt").pixel_values[0]
    # Pillow and torch round differently, by one grey level at most.
    assert (got - wanted(Image.fromarray(noise))).abs().max() <= 1.1 / 255 / 0.25


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("mean", "does not say how its images were normalised"),
        ("input_size", "pretrained_cfg of .* has no input_size of channels, height and width"),
    ],
)
def test_incomplete_preprocessing(lost: str, message: str, randomise: Any, tmp_path: Path) -> None:
    save_safetensors(randomise(VisionTransformer(**TINY)).state_dict(), tmp_path / "model.safetensors")
    published: dict[str, Any] = {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.25] * 3}
    published.pop(lost)
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": published}))
    with pytest.raises(ValueError, match=message):
        convert(tmp_path, num_heads=4)


def test_unknown_interpolation(randomise: Any, tmp_path: Path) -> None:
    save_safetensors(randomise(VisionTransformer(**TINY)).state_dict(), tmp_path / "model.safetensors")
    published = {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "random"}
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": published}))
    with pytest.raises(ValueError, match="is preprocessed by random"):
        convert(tmp_path, num_heads=4)


def test_endovit(randomise: Any, save_file: Any, max_error: Any) -> None:
    original = randomise(VisionTransformer(**TINY))
    weights = original.state_dict() | {"mask_token": torch.ones(1, 1, 16), "decoder_embed.weight": torch.ones(16, 32)}
    settings = argparse.Namespace(model="mae_vit_base_patch16", lr=1e-3)
    content = {"model": weights, "optimizer": {"state": {}}, "epoch": 3, "args": settings}
    conversion = convert_checkpoint(save_file(content), "endovit", num_heads=4)
    max_error(conversion.model, original.forward_features)
    assert conversion.processor.image_mean == (0.3464, 0.2280, 0.2228)
    assert conversion.processor.image_std == (0.2520, 0.2128, 0.2093)
    assert set(conversion.report["keys"]["dropped"]) == {"mask_token", "decoder_embed.weight"}
    assert conversion.report["not_read"] == ["args", "epoch", "optimizer"]
    assert conversion.report["licence"] == "apache-2.0"


def test_bare_file_without_normalisation(randomise: Any, save_file: Any) -> None:
    file = save_file(randomise(VisionTransformer(**TINY)).state_dict())
    with pytest.raises(ValueError, match=r"does not say how its images were normalised.*give image_mean and image_std"):
        convert(file, "timm_vit", num_heads=4)
    with pytest.raises(ValueError, match=r"image_mean of weights.pth must be three numbers"):
        convert(file, "timm_vit", num_heads=4, image_mean=[0.5], image_std=[0.5])


def test_published_size_with_other_heads(randomise: Any, save_file: Any) -> None:
    original = randomise(VisionTransformer(**{**TINY, "embed_dim": 192, "depth": 12, "num_heads": 3}))
    file = save_file(original.state_dict())
    assert convert(file, "timm_vit", **NORM)[0].config.num_attention_heads == 3
    with pytest.raises(ValueError, match="published with 3 attention heads; num_heads 6 would compute garbage"):
        convert(file, "timm_vit", num_heads=6, **NORM)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pre_norm": True}, "unknown: norm_pre"),
        ({"qk_norm": True}, "unknown: blocks.0.attn.k_norm"),
        ({"global_pool": "avg"}, "2 missing: norm.bias, norm.weight; 2 unknown: fc_norm.bias, fc_norm.weight"),
        ({"class_token": False, "global_pool": "avg"}, "holds no cls_token"),
    ],
)
def test_other_architectures(changes: dict[str, Any], message: str, randomise: Any, save_file: Any) -> None:
    original = randomise(VisionTransformer(**{**TINY, **changes}))
    with pytest.raises(ValueError, match=message):
        convert(save_file(original.state_dict()), "timm_vit", num_heads=4, **NORM)

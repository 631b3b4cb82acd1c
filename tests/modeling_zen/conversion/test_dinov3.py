"""DINOv3: equal tokens from transformers, from the names of its repository, and from timm's own reading of those."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.layers.norm import LayerNorm
from timm.models.eva import Eva, checkpoint_filter_fn
from transformers import DINOv3ViTConfig, DINOv3ViTModel

from modeling_zen.conversion import convert, convert_checkpoint

TINY: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "patch_size": 8,
    "image_size": 32,
    "num_register_tokens": 3,
}
NORM: dict[str, Any] = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}


def build(**changes: Any) -> DINOv3ViTModel:
    return DINOv3ViTModel(DINOv3ViTConfig(**{**TINY, **changes}))


def as_repository(original: DINOv3ViTModel, names: Any, theta: float = 100.0) -> dict[str, torch.Tensor]:
    """Its weights in the names of the repository, with periods and a mask that silences wrong key biases."""
    weights = names(original.state_dict(), dinov3=True)
    weights["rope_embed.periods"] = theta ** (torch.arange(4) / 4)
    for block in ("blocks.0", "blocks.1"):
        mask = torch.ones(96)
        mask[32:64] = 0
        weights[f"{block}.attn.qkv.bias_mask"] = mask
        weights[f"{block}.attn.qkv.bias"][32:64] = 7.0
    return weights


@pytest.fixture
def weights(randomise: Any, original_names: Any) -> dict[str, torch.Tensor]:
    return as_repository(randomise(build()), original_names)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"use_gated_mlp": True, "hidden_act": "silu"},
        {"num_register_tokens": 0, "key_bias": True},
        {"query_bias": False, "value_bias": False, "proj_bias": False, "mlp_bias": False},
        {"rope_theta": 37.0, "layer_norm_eps": 1e-3},
    ],
)
def test_transformers(changes: dict[str, Any], randomise: Any, save_folder: Any, max_error: Any) -> None:
    original = randomise(build(**changes))
    model, _ = convert(save_folder(original), **NORM)
    max_error(model, lambda pixels: original(pixels).last_hidden_state)


@pytest.mark.parametrize("gated", [False, True])
def test_original_names(gated: bool, randomise: Any, original_names: Any, save_file: Any, max_error: Any) -> None:
    original = randomise(build(use_gated_mlp=gated, hidden_act="silu" if gated else "gelu"))
    conversion = convert_checkpoint(save_file(as_repository(original, original_names)), "dinov3_hub")
    assert conversion.report["num_attention_heads"] == 2  # from the periods
    max_error(conversion.model, lambda pixels: original(pixels).last_hidden_state)


def test_timm_reads_the_same(weights: dict[str, torch.Tensor], save_file: Any, max_error: Any) -> None:
    original = Eva(
        img_size=32,
        patch_size=8,
        embed_dim=32,
        depth=2,
        num_heads=2,
        mlp_ratio=1.5,
        num_classes=0,
        qkv_bias=True,
        dynamic_img_size=True,
        init_values=1e-5,
        rope_type="dinov3",
        rope_temperature=100,
        rope_rotate_half=True,
        use_rot_pos_emb=True,
        use_abs_pos_emb=False,
        num_reg_tokens=3,
        use_fc_norm=False,
        norm_layer=partial(LayerNorm, eps=1e-5),
        global_pool="token",
    ).eval()
    original.load_state_dict(checkpoint_filter_fn(weights, original), strict=True)
    model, _ = convert(save_file(weights), "dinov3_hub")
    max_error(model, original.forward_features)


def test_smallest_and_largest_period(randomise: Any, original_names: Any, save_file: Any, max_error: Any) -> None:
    original = randomise(build())
    weights = as_repository(original, original_names)
    periods = 0.5 * 40.0 ** (torch.arange(4) / 3)
    weights["rope_embed.periods"] = periods
    original.rope_embeddings.inv_freq = 1 / periods
    model, _ = convert(save_file(weights), "dinov3_hub")
    assert model.config.rope_min_period == pytest.approx(0.5)
    max_error(model, lambda pixels: original(pixels).last_hidden_state)


def test_unused_norm_is_reported(weights: dict[str, torch.Tensor], save_file: Any) -> None:
    weights["local_cls_norm.weight"] = torch.ones(32)
    report = convert_checkpoint(save_file(weights), "dinov3_hub").report
    assert set(report["keys"]["dropped"]) == {"mask_token", "local_cls_norm.weight"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("storage_tokens"), "holds no registers .storage_tokens."),
        (lambda w: w.pop("rope_embed.periods"), "lacks rope_embed.periods"),
        (lambda w: w.update({"rope_embed.periods": torch.tensor([1.0, 3.0, 10.0, 33.0])}), "rotary periods .* not of"),
        (lambda w: w.update({"rope_embed.periods": torch.tensor([1.0, -3.0, 9.0, 27.0])}), "not positive numbers"),
        (lambda w: w.update({"rope_embed.periods": torch.ones(3)}), "3 rotary periods, which fit no number of heads"),
        (
            lambda w: w.update({"blocks.0.attn.q.weight": w.pop("blocks.0.attn.qkv.weight")[:32]}),
            "1 missing: blocks.0.attn.qkv.weight; 1 unknown: blocks.0.attn.q.weight",
        ),
        (
            lambda w: w.update({"blocks.1.gamma_1": w.pop("blocks.1.ls1.gamma")}),
            "1 missing: blocks.1.ls1.gamma; 1 unknown: blocks.1.gamma_1",
        ),
        (lambda w: w.pop("blocks.1.attn.qkv.bias_mask"), "1 missing: blocks.1.attn.qkv.bias_mask"),
        (lambda w: w["blocks.1.attn.qkv.bias_mask"].fill_(torch.nan), "1 with NaN or infinity: blocks.1.attn"),
        (lambda w: w["blocks.1.attn.qkv.bias_mask"].fill_(0.5), "bias_mask of the source holds other values"),
        (lambda w: w.update({"cls_norm.weight": torch.ones(32)}), "1 unknown: cls_norm.weight"),
    ],
)
def test_inexact(weights: dict[str, torch.Tensor], save_file: Any, change: Any, message: str) -> None:
    change(weights)
    with pytest.raises(ValueError, match=message):
        convert(save_file(weights), "dinov3_hub")


def test_all_biases_lost(weights: dict[str, torch.Tensor], save_file: Any) -> None:
    """As the DINOv3 of timm, which has none, would write it: they must not pass for none."""
    for key in [key for key in weights if ".attn.qkv.bias" in key]:
        weights.pop(key)
    with pytest.raises(ValueError, match=r"2 missing: blocks.0.attn.qkv.bias, blocks.1.attn.qkv.bias"):
        convert(save_file(weights), "dinov3_hub")


def test_lost_masks_are_noted(weights: dict[str, torch.Tensor], save_file: Any) -> None:
    for key in [key for key in weights if key.endswith("bias_mask")]:
        weights.pop(key)
    notes = convert_checkpoint(save_file(weights), "dinov3_hub").report["notes"]
    assert notes == ["the source holds no bias_mask, so that its keys have a bias; published models have none"]
    for block in ("blocks.0", "blocks.1"):
        weights[f"{block}.attn.qkv.bias"][32:64] = 0
    assert convert_checkpoint(save_file(weights), "dinov3_hub").report["notes"] == []


def test_image_size_means_nothing_to_rotary_positions(weights: dict[str, torch.Tensor], save_file: Any) -> None:
    with pytest.raises(
        ValueError, match=r"has rotary positions, which belong to no size of image: leave out image_size"
    ):
        convert(save_file(weights), "dinov3_hub", image_size=32)


def test_wrong_heads(weights: dict[str, torch.Tensor], save_file: Any) -> None:
    with pytest.raises(ValueError, match="4 rotary periods, so it has 2 attention heads, not 4"):
        convert(save_file(weights), "dinov3_hub", num_heads=4)


def test_without_registers_on_purpose(
    randomise: Any, original_names: Any, save_file: Any, max_error: Any, tmp_path: Path
) -> None:
    original = randomise(build(num_register_tokens=0))
    weights = as_repository(original, original_names)
    weights.pop("storage_tokens")
    model, _ = convert(save_file(weights), "dinov3_hub", num_register_tokens=0)
    max_error(model, lambda pixels: original(pixels).last_hidden_state)

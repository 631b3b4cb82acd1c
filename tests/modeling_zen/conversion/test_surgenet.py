"""SurgeNetDINO: exact, only with its non-commercial licence accepted, and never taken for the DINOv3 of others."""

from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel, DINOv3ViTConfig, DINOv3ViTModel

from modeling_zen.conversion import convert, convert_checkpoint

SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "patch_size": 8,
    "image_size": 32,
}


@pytest.fixture
def original(randomise: Any) -> DINOv3ViTModel:
    """As the authors of SurgeNetDINO build it: no registers, key bias, eps 1e-6."""
    config = DINOv3ViTConfig(
        **SHAPE, intermediate_size=96, num_register_tokens=0, key_bias=True, layer_norm_eps=1e-6, rope_theta=100.0
    )
    return randomise(DINOv3ViTModel(config))


@pytest.fixture
def weights(original: DINOv3ViTModel, original_names: Any) -> dict[str, torch.Tensor]:
    """Its published form: gamma_1 and gamma_2, fused qkv with one bias, periods rounded to bfloat16."""
    result = original_names(original.state_dict(), dinov3=True)
    result.pop("storage_tokens")
    result = {
        key.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): value for key, value in result.items()
    }
    result["rope_embed.periods"] = (100 ** (torch.arange(8) / 8)).to(torch.bfloat16)
    return result


def test_dinov3(original: DINOv3ViTModel, weights: Any, save_file: Any, max_error: Any) -> None:
    conversion = convert_checkpoint(save_file(weights), "surgenet_dinov3", accept_noncommercial=True)
    max_error(conversion.model, lambda pixels: original(pixels).last_hidden_state)
    config, report = conversion.model.config, conversion.report
    assert (config.num_attention_heads, config.num_register_tokens, config.rope_theta) == (2, 0, 100.0)
    assert report["licence"] == "cc-by-nc-sa-4.0"
    assert "stored in bfloat16" in report["notes"][0]
    assert conversion.processor.size["height"] == 336


def test_dinov3_in_the_names_of_the_repository(original: Any, weights: Any, save_file: Any, max_error: Any) -> None:
    renamed = {key.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma"): w for key, w in weights.items()}
    file = save_file({"teacher": {f"backbone.{key}": value for key, value in renamed.items()}})
    model, _ = convert(file, "surgenet_dinov3", accept_noncommercial=True)
    max_error(model, lambda pixels: original(pixels).last_hidden_state)


def test_dinov1(randomise: Any, save_file: Any, max_error: Any) -> None:
    timm = randomise(VisionTransformer(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=4, num_classes=0))
    file = save_file(timm.state_dict())
    model, processor = convert(file, "surgenet_dinov1", num_heads=4, accept_noncommercial=True)
    max_error(model, timm.forward_features, sizes=((32, 32),))
    assert processor.size["height"] == 224


def test_dinov2(randomise: Any, original_names: Any, save_file: Any, max_error: Any) -> None:
    reference = randomise(Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**SHAPE)))
    weights = original_names(reference.state_dict(), dinov3=False)
    model, _ = convert(save_file(weights), "surgenet_dinov2", num_heads=2, accept_noncommercial=True)
    max_error(model, lambda pixels: reference(pixels).last_hidden_state)
    weights.pop("register_tokens")
    with pytest.raises(ValueError, match=r"holds no registers .register_tokens., which its family has"):
        convert(save_file(weights), "surgenet_dinov2", num_heads=2, accept_noncommercial=True)


def test_licence(weights: Any, save_file: Any) -> None:
    with pytest.raises(ValueError, match=r"non-commercial \(cc-by-nc-sa-4.0\).*accept_noncommercial=True"):
        convert(save_file(weights), "surgenet_dinov3")


def test_no_model_card_frees_them(weights: Any, save_file: Any) -> None:
    folder = save_file(weights, "pytorch_model.bin").parent
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    with pytest.raises(ValueError, match=r"non-commercial \(cc-by-nc-sa-4.0\)"):
        convert(folder, "surgenet_dinov3")
    assert convert_checkpoint(folder, "surgenet_dinov3", licence="mit").report["licence"] == "mit"


def test_not_taken_for_dinov3(weights: Any, save_file: Any) -> None:
    with pytest.raises(ValueError, match=r"holds no registers .storage_tokens."):
        convert(save_file(weights), "dinov3_hub")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: w.update(storage_tokens=torch.ones(1, 4, 64)),
            "4 registers .storage_tokens., which its family has not",
        ),
        (
            lambda w: w.update({"rope_embed.periods": (torch.arange(8) + 1.0).to(torch.bfloat16)}),
            "rotary periods .* not of the form",
        ),
        (
            lambda w: w.update({"blocks.0.gamma1": w.pop("blocks.0.gamma_1")}),
            "missing: blocks.0.ls1.gamma, .*unknown: blocks.0.gamma1",
        ),
        (lambda w: w.pop("blocks.1.attn.qkv.bias"), "1 missing: blocks.1.attn.qkv.bias"),
        (lambda w: [w.pop(f"blocks.{index}.attn.qkv.bias") for index in (0, 1)], "2 missing: blocks.0.attn.qkv.bias"),
        (lambda w: [w.pop(f"blocks.{i}.gamma_{j}") for i in (0, 1) for j in (1, 2)], "4 missing: blocks.0.ls1.gamma"),
        (lambda w: w.pop("cls_token"), "holds no cls_token"),
    ],
)
def test_inexact(weights: Any, save_file: Any, change: Any, message: str) -> None:
    change(weights)
    with pytest.raises(ValueError, match=message):
        convert(save_file(weights), "surgenet_dinov3", accept_noncommercial=True)


def test_wrong_heads(weights: Any, save_file: Any) -> None:
    with pytest.raises(ValueError, match="8 rotary periods, so it has 2 attention heads, not 4"):
        convert(save_file(weights), "surgenet_dinov3", num_heads=4, accept_noncommercial=True)

"""DINO and iBOT: equal tokens, and a checkpoint with student and teacher is never guessed at."""

from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from transformers import ViTConfig, ViTModel

from modeling_zen.conversion import convert, convert_checkpoint


@pytest.fixture
def original(randomise: Any) -> ViTModel:
    """The class that transformers publishes DINO and iBOT as."""
    shape: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
    }
    return randomise(ViTModel(ViTConfig(**shape, patch_size=8, image_size=32, layer_norm_eps=1e-6)))


@pytest.fixture
def weights(original: ViTModel) -> dict[str, torch.Tensor]:
    """The same in the names of the DINO repository, checked against timm, whose names those are."""
    state = original.state_dict()
    result = {
        "cls_token": state["embeddings.cls_token"],
        "pos_embed": state["embeddings.position_embeddings"],
        "patch_embed.proj.weight": state["embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": state["embeddings.patch_embeddings.projection.bias"],
        "norm.weight": state["layernorm.weight"],
        "norm.bias": state["layernorm.bias"],
    }
    for index in range(2):
        for part in ("weight", "bias"):
            old, new = f"layers.{index}.", f"blocks.{index}."
            stacked = torch.cat([state[f"{old}attention.{name}_proj.{part}"] for name in "qkv"])
            result[f"{new}attn.qkv.{part}"] = stacked
            result[f"{new}attn.proj.{part}"] = state[f"{old}attention.o_proj.{part}"]
            result[f"{new}norm1.{part}"] = state[f"{old}layernorm_before.{part}"]
            result[f"{new}norm2.{part}"] = state[f"{old}layernorm_after.{part}"]
            result[f"{new}mlp.fc1.{part}"] = state[f"{old}mlp.fc1.{part}"]
            result[f"{new}mlp.fc2.{part}"] = state[f"{old}mlp.fc2.{part}"]
    timm = VisionTransformer(
        img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=4, mlp_ratio=2, num_classes=0
    ).eval()
    timm.load_state_dict(result, strict=True)
    return {key: value.clone() for key, value in result.items()}


@pytest.mark.parametrize("family", ["dino", "ibot"])
def test_backbone_file(family: str, original: ViTModel, weights: Any, save_file: Any, max_error: Any) -> None:
    conversion = convert_checkpoint(save_file(weights), family, num_heads=4)
    max_error(conversion.model, lambda pixels: original(pixels, interpolate_pos_encoding=True).last_hidden_state)
    assert conversion.report["branch"] == ""
    assert "0.1 patches" in conversion.report["notes"][0]
    assert conversion.processor.image_mean == (0.485, 0.456, 0.406)


def test_student_and_teacher(original: ViTModel, weights: Any, save_file: Any, max_error: Any) -> None:
    student = {f"module.backbone.{key}": torch.zeros_like(value) for key, value in weights.items()}
    teacher = {f"backbone.{key}": value for key, value in weights.items()}
    student["module.backbone.masked_embed"] = torch.ones(1, 32)
    teacher["head.mlp.0.weight"] = student["module.head.mlp.0.weight"] = torch.ones(4, 32)
    file = save_file({"student": student, "teacher": teacher, "epoch": 3, "dino_loss": {"center": torch.ones(1)}})
    with pytest.raises(ValueError, match=r"2 encoders: .* 'student.module.backbone', 'teacher.backbone'"):
        convert(file, "ibot", num_heads=4)
    with pytest.raises(ValueError, match=r"branch 'ema' of weights.pth fits 0 of its encoders: 'student"):
        convert(file, "ibot", num_heads=4, branch="ema")
    conversion = convert_checkpoint(file, "ibot", num_heads=4, branch="teacher")
    max_error(conversion.model, lambda pixels: original(pixels, interpolate_pos_encoding=True).last_hidden_state)
    assert conversion.report["branch"] == "teacher.backbone"
    assert set(conversion.report["keys"]["dropped"]) == {"head.mlp.0.weight"}
    assert conversion.report["not_read"] == ["dino_loss", "epoch", "student"]
    dropped = convert_checkpoint(file, "ibot", num_heads=4, branch="student").report["keys"]["dropped"]
    assert set(dropped) == {"masked_embed", "module.head.mlp.0.weight"}


def test_student_and_teacher_in_one_level(original: ViTModel, weights: Any, save_file: Any, max_error: Any) -> None:
    flat = {f"model.teacher.{key}": value for key, value in weights.items()}
    flat |= {f"model.student.{key}": torch.zeros_like(value) for key, value in weights.items()}
    flat["model.student.head.weight"] = torch.ones(2)
    conversion = convert_checkpoint(save_file(flat), "dino", num_heads=4, branch="model.teacher")
    max_error(conversion.model, lambda pixels: original(pixels, interpolate_pos_encoding=True).last_hidden_state)
    assert conversion.report["not_read"] == ["model.student"]


@pytest.mark.parametrize("key", ["reg_token", "dist_token", "blocks.0.ls1.gamma"])
def test_foreign_parts(key: str, weights: Any, save_file: Any) -> None:
    weights[key] = torch.ones(1, 1, 32)
    with pytest.raises(ValueError, match=f"holds {key}, which no ViT of DINO or iBOT has"):
        convert(save_file(weights), "dino", num_heads=4)


def test_missing_layer(weights: Any, save_file: Any) -> None:
    weights |= {key.replace("blocks.1.", "blocks.2."): value for key, value in weights.items() if "blocks.1" in key}
    for key in [key for key in weights if key.startswith("blocks.1.")]:
        weights.pop(key)
    with pytest.raises(ValueError, match=r"12 missing: blocks.1.attn.proj.bias, .* and 2 more"):
        convert(save_file(weights), "dino", num_heads=4)

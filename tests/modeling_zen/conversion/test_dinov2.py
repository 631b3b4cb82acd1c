"""DINOv2: equal tokens from transformers and from the names of its repository; anything inexact is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BitImageProcessor,
    Dinov2Config,
    Dinov2ForImageClassification,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
)

from modeling_zen import ZenImageProcessor
from modeling_zen.conversion import convert, convert_checkpoint

TINY: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "patch_size": 8,
    "image_size": 32,
}
NORM: dict[str, Any] = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}


def build(registers: bool, swiglu: bool) -> Any:
    if registers:
        return Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**TINY, num_register_tokens=3, use_swiglu_ffn=swiglu))
    return Dinov2Model(Dinov2Config(**TINY, use_swiglu_ffn=swiglu))


@pytest.fixture
def folder(randomise: Any, save_folder: Any) -> Path:
    return save_folder(randomise(build(True, False)))


@pytest.mark.parametrize("swiglu", [False, True])
@pytest.mark.parametrize("registers", [False, True])
def test_transformers(registers: bool, swiglu: bool, randomise: Any, save_folder: Any, max_error: Any) -> None:
    original = randomise(build(registers, swiglu))
    model, _ = convert(save_folder(original), **NORM)
    assert model.config.num_register_tokens == (3 if registers else 0)
    max_error(model, lambda pixels: original(pixels).last_hidden_state)


@pytest.mark.parametrize("swiglu", [False, True])
@pytest.mark.parametrize("registers", [False, True])
def test_original_names(
    registers: bool, swiglu: bool, randomise: Any, original_names: Any, save_file: Any, max_error: Any
) -> None:
    original = randomise(build(registers, swiglu))
    file = save_file(original_names(original.state_dict(), dinov3=False))
    model, processor = convert(file, "dinov2_with_registers_hub" if registers else "dinov2_hub", num_heads=4)
    max_error(model, lambda pixels: original(pixels).last_hidden_state)
    assert processor.image_mean == (0.485, 0.456, 0.406)


def test_chunked_blocks_of_a_teacher(randomise: Any, original_names: Any, save_file: Any, max_error: Any) -> None:
    original = randomise(build(True, False))
    weights = original_names(original.state_dict(), dinov3=False)
    chunked = {
        "backbone." + key.replace("blocks.0.", "blocks.0.0.").replace("blocks.1.", "blocks.1.1."): value
        for key, value in weights.items()
    }
    chunked["dino_head.last_layer.weight"] = torch.ones(3)
    conversion = convert_checkpoint(save_file({"teacher": chunked}), "dinov2_with_registers_hub", num_heads=4)
    assert conversion.report["branch"] == "teacher.backbone"
    assert set(conversion.report["keys"]["dropped"]) == {"mask_token", "dino_head.last_layer.weight"}
    max_error(conversion.model, lambda pixels: original(pixels).last_hidden_state)


def test_head_and_mask_token_are_reported(randomise: Any, save_folder: Any) -> None:
    original = randomise(Dinov2ForImageClassification(Dinov2Config(**TINY)))
    report = convert_checkpoint(save_folder(original), **NORM).report
    dropped = {"embeddings.mask_token", "classifier.weight", "classifier.bias"}
    assert set(report["keys"]["dropped"]) == dropped
    assert report["branch"] == "dinov2"
    assert report["licence"] == "apache-2.0"


def test_processor_of_the_source(randomise: Any, save_folder: Any) -> None:
    source = BitImageProcessor(
        size={"shortest_edge": 48}, crop_size={"height": 32, "width": 32}, image_mean=[0.5] * 3, image_std=[0.25] * 3
    )
    _, processor = convert(save_folder(randomise(build(False, False)), source))
    assert isinstance(processor, ZenImageProcessor)
    image = torch.randint(0, 256, (3, 50, 70), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    wanted = source(image, return_tensors="pt").pixel_values
    assert torch.equal(processor(image, return_tensors="pt").pixel_values, wanted)


def test_no_processor(folder: Path) -> None:
    with pytest.raises(ValueError, match="does not say how its images were normalised"):
        convert(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("embeddings.register_tokens"), "1 missing: embeddings.register_tokens"),
        (lambda w: w.update(surprise=torch.ones(1)), "1 unknown: surprise"),
        (
            lambda w: w.update({"layernorm.bias": torch.ones(31)}),
            r"1 of another shape: layernorm.bias is \(31,\), not \(32,\)",
        ),
        (
            lambda w: w.update({"encoder.layer.1.layer_scale1.gamma": w.pop("encoder.layer.1.layer_scale1.lambda1")}),
            "1 missing: encoder.layer.1.layer_scale1.lambda1; 1 unknown: encoder.layer.1.layer_scale1.gamma",
        ),
        (
            lambda w: w.update({"layernorm.weight": torch.full((32,), torch.nan)}),
            "1 with NaN or infinity: layernorm.weight",
        ),
    ],
)
def test_inexact(folder: Path, change: Any, message: str) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ValueError, match=message):
        convert(folder, **NORM)


def test_heads_against_the_config(folder: Path) -> None:
    with pytest.raises(ValueError, match="says num_heads 4, not 2"):
        convert(folder, num_heads=2, **NORM)


def test_config_of_another_size(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "image_size": 48}))
    with pytest.raises(ValueError, match=r"position_embeddings is \(1, 17, 32\), not \(1, 37, 32\)"):
        convert(folder, **NORM)


def test_positions_of_no_square(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "image_size": [16, 64]}))
    with pytest.raises(ValueError, match=r"positions for \(2, 8\) patches; DINOv2 has square grids"):
        convert(folder, **NORM)


def test_file_without_heads(randomise: Any, original_names: Any, save_file: Any) -> None:
    file = save_file(original_names(randomise(build(False, False)).state_dict(), dinov3=False))
    with pytest.raises(ValueError, match=r"32 wide and has 2 layers, which is no published size.*give num_heads"):
        convert(file, "dinov2_hub")
    with pytest.raises(ValueError, match="32 wide, which num_heads 3 does not divide"):
        convert(file, "dinov2_hub", num_heads=3)


def test_image_size_of_a_file(randomise: Any, original_names: Any, save_file: Any, max_error: Any) -> None:
    original = randomise(build(False, False))
    file = save_file(original_names(original.state_dict(), dinov3=False))
    max_error(convert(file, "dinov2_hub", num_heads=4, image_size=32)[0], lambda pixels: original(pixels)[0])
    with pytest.raises(ValueError, match=r"holds 17 positions, which an image of \(40, 40\) pixels has not"):
        convert(file, "dinov2_hub", num_heads=4, image_size=40)
    with pytest.raises(ValueError, match=r"holds 17 positions, which an image of \(36, 32\) pixels has not"):
        convert(file, "dinov2_hub", num_heads=4, image_size=(36, 32))
    with pytest.raises(ValueError, match=r"cannot have positions for \(2, 8\) patches; DINOv2 has square grids"):
        convert(file, "dinov2_hub", num_heads=4, image_size=(16, 64))


def test_images_of_four_channels(original_names: Any, save_file: Any) -> None:
    weights = original_names(build(False, False).state_dict(), dinov3=False)
    weights["patch_embed.proj.weight"] = torch.ones(32, 4, 8, 8)
    assert convert(save_file(weights), "dinov2_hub", num_heads=4)[0].config.num_channels == 4


def test_registers_of_a_file(randomise: Any, original_names: Any, save_file: Any, max_error: Any) -> None:
    weights = original_names(randomise(build(True, False)).state_dict(), dinov3=False)
    with pytest.raises(ValueError, match=r"holds 3 registers \(register_tokens\), which its family has not"):
        convert(save_file(weights), "dinov2_hub", num_heads=4)
    weights.pop("register_tokens")
    with pytest.raises(ValueError, match=r"holds no registers \(register_tokens\), which its family has"):
        convert(save_file(weights), "dinov2_with_registers_hub", num_heads=4)
    with pytest.raises(ValueError, match=r"holds 0 registers \(register_tokens\), not num_register_tokens 4"):
        convert(save_file(weights), "dinov2_with_registers_hub", num_heads=4, num_register_tokens=4)
    with pytest.raises(
        ValueError, match=r"lacks cls_token, pos_embed, patch_embed.proj.weight in the form that DINOv2"
    ):
        convert(save_file({"cls_token": torch.ones(32)}), "dinov2_hub", num_heads=4)

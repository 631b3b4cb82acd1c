"""ViT, DeiT and MAE of transformers: equal tokens, and a word about the pooler that is left behind."""

from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    DeiTConfig,
    DeiTForImageClassificationWithTeacher,
    DeiTModel,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    ViTMAEConfig,
    ViTMAEForPreTraining,
    ViTMAEModel,
    ViTModel,
)

from modeling_zen.conversion import convert, convert_checkpoint

TINY: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "patch_size": 8,
    "image_size": 32,
}
DECODER: dict[str, Any] = {
    "decoder_hidden_size": 32,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 32,
}
NORM: dict[str, Any] = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}


@pytest.mark.parametrize("changes", [{}, {"qkv_bias": False, "hidden_act": "gelu_new", "layer_norm_eps": 1e-3}])
def test_vit(changes: dict[str, Any], randomise: Any, save_folder: Any, max_error: Any) -> None:
    original = randomise(ViTModel(ViTConfig(**TINY, **changes)))
    conversion = convert_checkpoint(save_folder(original), **NORM)
    max_error(conversion.model, lambda pixels: original(pixels, interpolate_pos_encoding=True).last_hidden_state)
    assert "pooler of the source (linear layer, tanh) is dropped" in conversion.report["notes"][0]
    assert set(conversion.report["keys"]["dropped"]) == {"pooler.dense.weight", "pooler.dense.bias"}
    assert conversion.report["licence"] == "unknown"
    assert conversion.model.state_dict()["layers.0.layer_scale1.scale"].eq(1).all()


def test_vit_of_no_square(randomise: Any, save_folder: Any, max_error: Any) -> None:
    original = randomise(ViTModel(ViTConfig(**{**TINY, "image_size": [24, 40]})))
    model, _ = convert(save_folder(original), **NORM)
    max_error(model, lambda pixels: original(pixels).last_hidden_state, sizes=((24, 40),))


def test_vit_with_head(randomise: Any, save_folder: Any, max_error: Any) -> None:
    original = randomise(ViTForImageClassification(ViTConfig(**TINY)))
    source = ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    model, processor = convert(save_folder(original, source))
    max_error(model, lambda pixels: original.vit(pixels, interpolate_pos_encoding=True).last_hidden_state)
    assert (processor.image_mean, processor.size["height"]) == ((0.5, 0.5, 0.5), 32)


def test_names_within_transformers(randomise: Any, save_folder: Any, max_error: Any) -> None:
    original = randomise(ViTModel(ViTConfig(**TINY)))
    folder = save_folder(original)
    save_file(original.state_dict(), folder / "model.safetensors")
    model, _ = convert(folder, **NORM)
    max_error(model, lambda pixels: original(pixels, interpolate_pos_encoding=True).last_hidden_state)


def test_deit(randomise: Any, save_folder: Any, max_error: Any) -> None:
    original = randomise(DeiTModel(DeiTConfig(**TINY)))
    model, _ = convert(save_folder(original), **NORM)
    max_error(model, lambda pixels: original(pixels, interpolate_pos_encoding=True).last_hidden_state)
    pixels = torch.zeros(1, 3, 32, 32)
    with torch.no_grad():
        wanted = original(pixels).last_hidden_state[:, :2].mean(1)
        assert torch.allclose(model(pixels).pooler_output, wanted, atol=1e-5)


def test_deit_with_two_heads(randomise: Any, save_folder: Any) -> None:
    original = randomise(DeiTForImageClassificationWithTeacher(DeiTConfig(**TINY)))
    report = convert_checkpoint(save_folder(original), **NORM).report
    assert {key.split(".")[0] for key in report["keys"]["dropped"]} == {"cls_classifier", "distillation_classifier"}


def test_mae(randomise: Any, save_folder: Any, max_error: Any) -> None:
    original = randomise(ViTMAEModel(ViTMAEConfig(**TINY, mask_ratio=0.0)))
    model, _ = convert(save_folder(original), **NORM)

    def in_order(pixels: torch.Tensor) -> torch.Tensor:
        patches = pixels.shape[-2] * pixels.shape[-1] // 64
        noise = torch.arange(patches).float().expand(len(pixels), -1)
        return original(pixels, noise=noise, interpolate_pos_encoding=True).last_hidden_state

    max_error(model, in_order)


def test_mae_with_decoder(randomise: Any, save_folder: Any) -> None:
    original = randomise(ViTMAEForPreTraining(ViTMAEConfig(**TINY, **DECODER)))
    report = convert_checkpoint(save_folder(original), **NORM).report
    assert {key.split(".")[0] for key in report["keys"]["dropped"]} == {"decoder"}


def test_wrong_family(randomise: Any, save_folder: Any) -> None:
    folder = save_folder(randomise(ViTModel(ViTConfig(**TINY))))
    with pytest.raises(ValueError, match=r"config.json of source tells family 'vit', not 'deit'"):
        convert(folder, "deit", **NORM)

"""C-RADIO: equal tokens, its normalisation moved to the processor, and RADIO refused for its licence."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPImageProcessor, RadioConfig, RadioModel

from modeling_zen.conversion import convert, convert_checkpoint

TINY: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "patch_size": 8,
    "max_img_size": 64,
    "summary_idxs": [2, 0],
}


def build(**changes: Any) -> RadioModel:
    return RadioModel(RadioConfig(**{**TINY, **changes}))


def order(original: RadioModel) -> list[int]:
    """Its prefix tokens in the order of ZEN."""
    prefix = original.config.num_cls_tokens + original.config.num_registers
    summary = list(original.config.summary_idxs or ())
    return summary + [index for index in range(prefix) if index not in summary]


@pytest.fixture
def folder(randomise: Any, save_folder: Any) -> Path:
    return save_folder(randomise(build()), name="C-RADIOv4-tiny")


@pytest.mark.parametrize(
    "changes",
    [{}, {"use_swiglu_ffn": True, "video_temporal_patch_size": 2}, {"qkv_bias": False, "layer_norm_eps": 1e-3}],
)
def test_radio(changes: dict[str, Any], randomise: Any, save_folder: Any, max_error: Any) -> None:
    original = randomise(build(**changes))
    conversion = convert_checkpoint(save_folder(original, name="C-RADIOv4-tiny"))
    mean, std = (torch.tensor(getattr(original.config, f"norm_{part}")).view(3, 1, 1) for part in ("mean", "std"))

    def reordered(pixels: torch.Tensor) -> torch.Tensor:
        tokens = original(pixels * std + mean).last_hidden_state  # it normalises inside
        prefix = len(order(original))
        return torch.cat([tokens[:, order(original)], tokens[:, prefix:]], dim=1)

    max_error(conversion.model, reordered, sizes=((64, 64), (40, 24), (80, 96)))
    pixels = torch.rand(1, 3, 40, 24)
    with torch.no_grad():
        summary = conversion.model.summary_tokens(conversion.model((pixels - mean) / std).last_hidden_state)
        assert torch.allclose(summary.flatten(1), original(pixels).summary, atol=1e-4)
    assert conversion.processor.image_mean == pytest.approx(original.config.norm_mean)
    assert conversion.report["licence"] == "nvidia-open-model-license"
    assert ("video_embedder" in str(conversion.report["keys"]["dropped"])) == ("video_temporal_patch_size" in changes)


def test_without_layer_scale(folder: Path, randomise: Any) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({key: value for key, value in weights.items() if "lambda1" not in key}, folder / "model.safetensors")
    conversion = convert_checkpoint(folder)
    assert conversion.model.state_dict()["layers.1.layer_scale2.scale"].eq(1).all()
    assert "layers.1.layer_scale2.scale" in conversion.report["keys"]["made"]


@pytest.mark.parametrize("name", ["RADIO-H", "radio_v2.5-h", "RADIO-next-to-C-RADIO"])
def test_non_commercial(name: str, randomise: Any, save_folder: Any) -> None:
    folder = save_folder(randomise(build()), name=name)
    with pytest.raises(ValueError, match=f"weights of {name} are non-commercial .*accept_noncommercial"):
        convert(folder)
    assert convert_checkpoint(folder, accept_noncommercial=True).report["licence"].startswith("nsclv1")


def test_licence_of_the_model_card(folder: Path) -> None:
    (folder / "README.md").write_text("---\nlicense: other\nlicense_name: nsclv1\n---\n")
    with pytest.raises(ValueError, match=r"non-commercial \(nsclv1\)"):
        convert(folder)


def test_untold_licence(randomise: Any, save_folder: Any) -> None:
    folder = save_folder(randomise(build()), name="mine")
    with pytest.raises(ValueError, match="nothing in mine tells whether it is C-RADIO"):
        convert(folder)
    assert (
        convert_checkpoint(folder, licence="nvidia-open-model-license").report["licence"] == "nvidia-open-model-license"
    )


def test_normalised_twice(folder: Path) -> None:
    CLIPImageProcessor(do_normalize=True).save_pretrained(folder)
    with pytest.raises(ValueError, match="normalises images and its model does so again"):
        convert(folder)
    CLIPImageProcessor(do_normalize=False, crop_size={"height": 64, "width": 64}).save_pretrained(folder)
    _, processor = convert(folder)
    assert processor.do_normalize
    assert processor.to_dict()["crop_size"] == {"height": 64, "width": 64}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.update({"radio_model.summary_idxs": torch.tensor([0, 1])}), r"\[0, 1\] in its weights, \[2, 0\]"),
        (lambda w: w.pop("radio_model.summary_idxs"), "holds no radio_model.summary_idxs"),
        (lambda w: w.pop("radio_model.input_conditioner.norm_std"), "lacks radio_model.input_conditioner.norm_std"),
        (
            lambda w: w.update({"radio_model.model.patch_generator.cls_token.token": torch.ones(9, 32)}),
            r"cls_token.token is \(9, 32\), not \(10, 32\)",
        ),
        (lambda w: w.update({"radio_model.model.norm.weight": torch.ones(32)}), "1 unknown: radio_model.model.norm"),
    ],
)
def test_inexact(folder: Path, change: Any, message: str) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ValueError, match=message):
        convert(folder)


def test_summary_of_no_class_token(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "summary_idxs": [0, 5]}))
    with pytest.raises(ValueError, match=r"summary_idxs \[0, 5\], which are not different ones of its 3 class tokens"):
        convert(folder)

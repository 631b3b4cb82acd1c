"""`ZenBackbone`: the stages it was asked for, in the form it was asked for, equal to the tokens of `ZenModel`."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoBackbone

from modeling_zen import ZenBackbone, ZenConfig, ZenModel

from .conftest import TINY

FOUR: dict[str, Any] = {**TINY, "num_hidden_layers": 4, "layerscale_value": 1.0}


def backbone_of(model: ZenModel, **fields: Any) -> ZenBackbone:
    """A backbone with the weights of `model`."""
    backbone = ZenBackbone(ZenConfig(**{**TINY, **fields})).eval()
    new = {key: weight for key, weight in backbone.state_dict().items() if key.startswith("pyramid.")}
    backbone.load_state_dict({**new, **model.state_dict()})
    return backbone


def test_the_default_is_the_last_stage_as_a_map(model: ZenModel, pixels: torch.Tensor) -> None:
    backbone = backbone_of(model)
    [feature_map] = backbone(pixels).feature_maps
    assert torch.equal(feature_map, model.dense_tokens(model(pixels).last_hidden_state, 48, 80))
    assert backbone.out_features == ["stage2"]
    assert backbone.out_indices == [2]
    assert backbone.channels == [32]
    assert backbone.stage_names == ["stem", "stage1", "stage2"]
    assert backbone.num_features == [32, 32, 32]


@pytest.mark.parametrize("apply_layernorm", [True, False])
def test_stages_are_the_hidden_states(apply_layernorm: bool, model: ZenModel, pixels: torch.Tensor) -> None:
    """The last stage is always normalised, the others if asked for."""
    stages = ["stem", "stage1", "stage2"]
    backbone = backbone_of(model, out_features=stages, apply_layernorm=apply_layernorm)
    outputs = model(pixels, output_hidden_states=True)
    norm: Any = model.norm if apply_layernorm else nn.Identity()
    expected = [*map(norm, outputs.hidden_states[:2]), outputs.last_hidden_state]
    maps = backbone(pixels).feature_maps
    assert len(maps) == 3
    for feature_map, tokens in zip(maps, expected, strict=True):
        assert torch.equal(feature_map, model.dense_tokens(tokens, 48, 80))


@pytest.mark.parametrize("return_class_token", [True, False])
def test_tokens_come_without_registers(return_class_token: bool, model: ZenModel, pixels: torch.Tensor) -> None:
    backbone = backbone_of(model, reshape_hidden_states=False, return_class_token=return_class_token)
    [tokens] = backbone(pixels).feature_maps
    outputs = model(pixels)
    assert tokens.shape == (2, 15 + return_class_token, 32)
    assert torch.equal(tokens[:, -15:], outputs.last_hidden_state[:, 5:])
    if return_class_token:
        assert torch.equal(tokens[:, 0], outputs.pooler_output)


def test_an_encoder_without_registers(pixels: torch.Tensor) -> None:
    torch.manual_seed(0)
    model = ZenModel(ZenConfig(**{**TINY, "num_register_tokens": 0})).eval()
    backbone = backbone_of(model, num_register_tokens=0, reshape_hidden_states=False)
    assert backbone(pixels).feature_maps[0].shape == (2, 1 + 15, 32)
    assert "embeddings.register_tokens" not in backbone.state_dict()


def test_strides_of_a_pyramid() -> None:
    """4, 2, 1 and 1/2 times the grid of patches of 16 are strides 4, 8, 16 and 32."""
    backbone = ZenBackbone(ZenConfig(**TINY, pyramid_scale_factors=[4, 2, 1, 0.5])).eval()
    maps = backbone(torch.randn(2, 3, 64, 96)).feature_maps
    assert [96 / feature_map.shape[-1] for feature_map in maps] == [4, 8, 16, 32]
    assert [tuple(feature_map.shape) for feature_map in maps] == [
        (2, 32, 16, 24),
        (2, 32, 8, 12),
        (2, 32, 4, 6),
        (2, 32, 2, 3),
    ]
    assert backbone.channels == [32] * 4


def test_what_a_pyramid_computes(model: ZenModel) -> None:
    """Upwards transposed convolutions, the map itself, downwards the maximum."""
    backbone = backbone_of(model, pyramid_scale_factors=[4, 2, 1, 0.5, 0.25])
    pixels = torch.randn(2, 3, 64, 80)
    feature_map = model.dense_tokens(model(pixels).last_hidden_state, 64, 80)
    four, two, same, half, quarter = backbone(pixels).feature_maps
    scales: Any = dict(backbone.pyramid.scales.items())
    first, _, second = scales["0_x4"]
    torch.testing.assert_close(four, second(nn.functional.gelu(first(feature_map))))
    torch.testing.assert_close(two, scales["1_x2"](feature_map))
    assert torch.equal(same, feature_map)
    assert torch.equal(half[..., 0, 1], feature_map[..., 0:2, 2:4].amax((-2, -1)))
    assert torch.equal(quarter[..., 0, 0], feature_map[..., :4, :4].amax((-2, -1)))
    assert quarter.shape == (2, 32, 1, 1)  # what is left over of 5 columns is left out


def test_a_pyramid_of_several_stages(pixels: torch.Tensor) -> None:
    """As many stages as factors: each map from its own stage."""
    torch.manual_seed(0)
    fields: dict[str, Any] = {**FOUR, "out_features": ["stage1", "stage4"]}
    plain = ZenBackbone(ZenConfig(**fields)).eval()
    pyramid = ZenBackbone(ZenConfig(**fields, pyramid_scale_factors=[1, 0.5])).eval()
    pyramid.load_state_dict(plain.state_dict())  # neither factor has weights
    first, last = plain(pixels).feature_maps
    ours = pyramid(pixels).feature_maps
    assert torch.equal(ours[0], first)
    assert torch.equal(ours[1], nn.functional.max_pool2d(last, 2))
    pyramid.out_features = ["stage1", "stage2", "stage4"]
    with pytest.raises(ValueError, match=r"^2 pyramid_scale_factors need 1 map or as many, not 3$"):
        pyramid(pixels)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"out_features": ["stage9"]}, r"out_features must be a subset of stage_names: .* got \['stage9'\]"),
        ({"out_features": ["stage2", "stage1"]}, "must be in the same order as stage_names"),
        ({"out_indices": [7]}, "out_indices must be valid indices"),
        ({"pyramid_scale_factors": [3]}, r"pyramid_scale_factors must be out of 4, 2, 1, 0\.5 and 0\.25, not \[3\]"),
        ({"pyramid_scale_factors": []}, r"must be out of .*, not \[\]"),
        ({"pyramid_scale_factors": [2, 1], "reshape_hidden_states": False}, "need reshape_hidden_states=True"),
        (
            {"pyramid_scale_factors": [2, 1, 0.5], "out_features": ["stage1", "stage2"]},
            "has 3 factors: out_features must name 1 stage or as many, not 2",
        ),
    ],
)
def test_impossible_forms(fields: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, IndexError), match=message):
        ZenConfig(**TINY, **fields)


def test_frames_off_the_grid_are_refused(model: ZenModel) -> None:
    with pytest.raises(ValueError, match=r"change width 100 \(nearest: 96 or 112\)$"):
        backbone_of(model)(torch.zeros(1, 3, 64, 100))


def test_hidden_states_and_attentions_on_request(model: ZenModel, pixels: torch.Tensor) -> None:
    backbone = backbone_of(model)
    assert backbone(pixels).hidden_states is None
    backbone.set_attn_implementation("eager")
    outputs = backbone(pixels, output_hidden_states=True, output_attentions=True)
    assert len(outputs.hidden_states) == 3
    assert [tuple(weights.shape) for weights in outputs.attentions] == [(2, 4, 20, 20)] * 2
    assert isinstance(backbone(pixels, return_dict=False), tuple)


def test_weights_go_both_ways(folder: Path, model: ZenModel, tmp_path: Path) -> None:
    """A saved encoder is a backbone, and a saved backbone is an encoder, without a weight more or less."""
    backbone = ZenBackbone.from_pretrained(folder)
    assert backbone.state_dict().keys() == model.state_dict().keys()
    backbone.save_pretrained(tmp_path / "backbone")
    again = ZenModel.from_pretrained(tmp_path / "backbone").state_dict()
    assert again.keys() == model.state_dict().keys()
    assert all(torch.equal(weight, again[name]) for name, weight in model.state_dict().items())


def test_only_the_pyramid_may_be_new(folder: Path, tmp_path: Path) -> None:
    backbone, report = ZenBackbone.from_pretrained(folder, pyramid_scale_factors=[2, 1], output_loading_info=True)
    assert report["missing_keys"] == {"pyramid.scales.0_x2.0.weight", "pyramid.scales.0_x2.0.bias"}
    backbone.save_pretrained(tmp_path / "pyramid")
    again = ZenBackbone.from_pretrained(tmp_path / "pyramid")
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in backbone.state_dict().items())
    assert isinstance(ZenModel.from_pretrained(tmp_path / "pyramid"), ZenModel)
    with pytest.raises(ValueError, match=r"of ZenBackbone: 1 of another shape: embeddings\.summary_tokens"):
        ZenBackbone.from_pretrained(tmp_path / "pyramid", num_summary_tokens=5)


def test_another_pyramid_takes_no_layers_over(tmp_path: Path) -> None:
    """The first half of a way up by four is no way up by two."""
    ZenBackbone(ZenConfig(**TINY, pyramid_scale_factors=[4, 1])).save_pretrained(tmp_path)
    _, report = ZenBackbone.from_pretrained(tmp_path, pyramid_scale_factors=[2, 1], output_loading_info=True)
    assert report["missing_keys"] == {"pyramid.scales.0_x2.0.weight", "pyramid.scales.0_x2.0.bias"}


def test_the_auto_class_makes_it_from_a_config() -> None:
    config = ZenConfig(**TINY, out_indices=[1, 2])
    backbone = AutoBackbone.from_config(config)
    assert type(backbone) is ZenBackbone
    assert backbone.out_features == ["stage1", "stage2"]


def test_a_gradient_reaches_every_weight(pixels: torch.Tensor) -> None:
    backbone = ZenBackbone(ZenConfig(**TINY, pyramid_scale_factors=[4, 2, 1, 0.5]))
    sum(feature_map.square().mean() for feature_map in backbone.train()(pixels).feature_maps).backward()
    assert [name for name, weight in backbone.named_parameters() if weight.grad is None] == []

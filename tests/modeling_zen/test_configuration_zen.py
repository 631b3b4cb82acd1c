"""ZenConfig: sizes, refusals with the right name, and the round trip through config.json."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.errors import StrictDataclassFieldValidationError
from transformers import AutoConfig

from modeling_zen import ZEN_SIZES, ZenConfig, ZenModel


@pytest.mark.parametrize(
    ("size", "width", "layers", "heads"),
    [("nano", 192, 6, 3), ("tiny", 192, 12, 3), ("small", 384, 12, 6), ("base", 768, 12, 12), ("large", 1024, 24, 16)],
)
def test_ready_sizes_have_the_parameters_of_their_formula(size: str, width: int, layers: int, heads: int) -> None:
    config = ZenConfig.from_size(size)
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (width, layers, heads)
    with torch.device("meta"):
        model = ZenModel(config)
    # A layer: q, k, v, o (4 D^2 + 4 D), MLP of width 4 D (8 D^2 + 5 D), two norms (4 D), two layer scales (2 D).
    per_layer = 12 * width**2 + 15 * width
    patches, tokens, final_norm = 3 * 16 * 16 * width + width, 5 * width, 2 * width
    assert model.num_parameters() == layers * per_layer + patches + tokens + final_norm


def test_the_table_of_sizes_is_complete() -> None:
    assert list(ZEN_SIZES) == ["nano", "tiny", "small", "base", "large"]
    assert ZenConfig() == ZenConfig.from_size("small")


def test_from_size_takes_overrides_and_names_the_sizes() -> None:
    config = ZenConfig.from_size("nano", num_hidden_layers=2, hidden_size=96)
    assert (config.num_hidden_layers, config.hidden_size, config.intermediate_size) == (2, 96, 384)
    with pytest.raises(ValueError, match="unknown ZEN size 'huge'; the ready sizes are nano, tiny, small, base, large"):
        ZenConfig.from_size("huge")
    with pytest.raises(ValueError, match=r"no field 'num_layers' \(did you mean 'num_hidden_layers'\?\)"):
        ZenConfig.from_size("nano", num_layers=2)


def test_what_is_left_open_is_filled_in() -> None:
    plain, gated = ZenConfig(), ZenConfig(mlp="swiglu")
    assert (plain.intermediate_size, plain.hidden_act, plain.num_prefix_tokens) == (1536, "gelu", 5)
    assert (gated.intermediate_size, gated.hidden_act) == (1536, "silu")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hiden_size": 64}, r"ZenConfig has no field 'hiden_size' \(did you mean 'hidden_size'\?\)$"),
        ({"zzz": 1}, r"has no field 'zzz'; it has hidden_size, num_hidden_layers, .*, out_indices, "),
        ({"pach_size": 8, "zzz": 1}, r"'pach_size' \(did you mean 'patch_size'\?\), 'zzz'; it has"),
        ({"model_type": "vit"}, "config of a 'vit' model; ZenConfig reads model_type 'zen'"),
        ({"hidden_size": 100}, r"hidden_size 100 must be a multiple of 4 \* num_attention_heads \(24\)"),
        ({"hidden_size": 6 * 6}, r"hidden_size 36 must be a multiple of .* width is a multiple of 4"),
        ({"num_hidden_layers": 0}, "num_hidden_layers must be at least 1, not 0"),
        ({"num_attention_heads": 0}, "num_attention_heads must be at least 1, not 0"),
        ({"intermediate_size": -4}, "intermediate_size must be at least 1, not -4"),
        ({"num_summary_tokens": 0}, "num_summary_tokens must be at least 1, not 0"),
        ({"num_register_tokens": -1}, "num_register_tokens must be 0 or more, not -1"),
        ({"layerscale_value": 0.0}, "layerscale_value must be a positive number, not 0.0"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps must be a positive number, not nan"),
        ({"rope_theta": float("inf")}, "rope_theta must be a positive number, not inf"),
        ({"drop_path_rate": 1.0}, "drop_path_rate must be 0 or more and less than 1, not 1.0"),
        ({"attention_dropout": -0.1}, "attention_dropout must be 0 or more and less than 1, not -0.1"),
        ({"hidden_act": "relu"}, "hidden_act 'relu' is not one of mlp='gelu': gelu, "),
        ({"hidden_act": "gelu", "mlp": "swiglu"}, "hidden_act 'gelu' is not one of mlp='swiglu': silu"),
        ({"image_size": 230}, r"image_size: an image of 230 x 230 pixels .* height 230 \(nearest: 224 or 240\)"),
        ({"image_size": [224, 224, 3]}, r"image_size must be one number or \(height, width\) in pixels"),
        ({"out_features": ["stage13"]}, "out_features must be a subset of stage_names"),
        ({"pyramid_scale_factors": [3]}, r"pyramid_scale_factors must be out of 4, 2, 1, 0.5 and 0.25, not \[3\]"),
        ({"pyramid_scale_factors": []}, "pyramid_scale_factors must be out of"),
        ({"pyramid_scale_factors": [1], "reshape_hidden_states": False}, "they need reshape_hidden_states=True"),
        (
            {"pyramid_scale_factors": [2, 1, 0.5], "out_indices": [1, 2]},
            "has 3 factors: out_features must name 1 stage or as many, not 2",
        ),
        ({"temporal_num_heads": 3}, r"temporal_hidden_size 64 must be a multiple of 2 \* temporal_num_heads \(6\)"),
        ({"text_hidden_size": 0}, "text_hidden_size must be at least 1, not 0"),
        ({"adaptor_hidden_size": 0}, "adaptor_hidden_size must be at least 1, not 0"),
        ({"num_frames": 0}, "num_frames must be at least 1, not 0"),
        ({"min_depth": 300.0}, "min_depth 300.0 must be less than max_depth 300.0"),
        ({"triplets": [[0, 0, 0]], "verbs": ["cut"]}, "instruments, targets must be given too"),
        (
            {"triplets": [[0, 1, 0]], "instruments": ["a"], "verbs": ["b"], "targets": ["c"]},
            r"triplets\[0\] is \[0, 1, 0\], not three indices below 1 \(instruments\), 1 \(verbs\) and 1 \(targets\)",
        ),
    ],
)
def test_wrong_values_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ZenConfig(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"hidden_size": "384"}, "'hidden_size' expected int, got str"), ({"mlp": "relu"}, "'mlp' expected one of")],
)
def test_wrong_types_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(StrictDataclassFieldValidationError, match=message):
        ZenConfig(**fields)


def test_a_config_changed_afterwards_is_checked_when_a_model_is_built(config: ZenConfig) -> None:
    config.num_attention_heads = 3
    with pytest.raises(ValueError, match="hidden_size 32 must be a multiple"):
        ZenModel(config)


def test_grid_size_names_the_nearest_legal_sizes() -> None:
    config = ZenConfig()
    assert config.grid_size(224, 320) == (14, 20)
    with pytest.raises(ValueError, match=r"225 x 300 .* change height 225 \(nearest: 224 or 240\) and width 300"):
        config.grid_size(225, 300)
    with pytest.raises(ValueError, match=r"change width 7 \(nearest: 16 or 32\)$"):
        config.grid_size(224, 7)


def test_config_json_holds_every_field_resolved_and_comes_back(config: ZenConfig, tmp_path: Path) -> None:
    config.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert set(ZenConfig._field_names()) <= set(written)
    assert written["intermediate_size"] == 128
    assert written["auto_map"] == {"AutoConfig": "configuration_zen.ZenConfig"}
    for reader in (ZenConfig, AutoConfig):
        again = reader.from_pretrained(tmp_path)
        assert type(again) is ZenConfig
        assert {**again.to_dict(), "_name_or_path": ""} == config.to_dict()


def test_a_misspelled_field_in_config_json_is_refused(config: ZenConfig, tmp_path: Path) -> None:
    config.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**written, "num_register_token": 3}))
    with pytest.raises(ValueError, match=r"no field 'num_register_token' \(did you mean 'num_register_tokens'\?\)"):
        AutoConfig.from_pretrained(tmp_path)


def test_overrides_while_loading_are_checked_like_any_value(config: ZenConfig, tmp_path: Path) -> None:
    config.save_pretrained(tmp_path)
    assert ZenConfig.from_pretrained(tmp_path, drop_path_rate=0.2).drop_path_rate == 0.2
    with pytest.raises(ValueError, match="drop_path_rate must be 0 or more"):
        ZenConfig.from_pretrained(tmp_path, drop_path_rate=2.0)


def test_keys_of_transformers_are_accepted() -> None:
    keys: dict[str, Any] = {
        "architectures": ["ZenModel"],
        "auto_map": {"AutoModel": "modeling_zen.ZenModel"},
        "custom_pipelines": {},
        "dtype": "bfloat16",
        "id2label": {0: "grasper", 1: "hook"},
        "label2id": {"grasper": 0, "hook": 1},
        "out_features": ["stage1"],
        "transformers_version": "5.23.0",
        "_name_or_path": "somewhere",
        "attn_implementation": "eager",
    }
    config = ZenConfig(**keys)
    assert config.num_labels == 2
    assert config.dtype is torch.bfloat16
    assert ZenConfig(num_labels=7).num_labels == 7  # type: ignore[call-arg]


def test_stages_survive_the_file_and_can_be_replaced(tmp_path: Path) -> None:
    config = ZenConfig(out_features=["stage3", "stage6"], pyramid_scale_factors=[2, 1])
    config.save_pretrained(tmp_path)
    assert ZenConfig.from_pretrained(tmp_path).out_indices == [3, 6]
    assert ZenConfig.from_pretrained(tmp_path, out_indices=[1, 2]).out_features == ["stage1", "stage2"]
    assert ZenConfig.from_pretrained(tmp_path, out_features=["stage7"]).out_indices == [7]
    assert ZenConfig.from_pretrained(tmp_path, num_hidden_layers=8).out_features == ["stage3", "stage6"]


@pytest.mark.parametrize(("image_size", "grid"), [(224, (14, 14)), ([64, 96], (4, 6))])
def test_the_grid_of_learned_positions(image_size: Any, grid: tuple[int, int]) -> None:
    assert ZenConfig(image_size=image_size, position_embedding="learned").position_grid == grid


def test_what_trainer_writes_can_be_read(tmp_path: Path) -> None:
    """Trainer sets `use_cache` on every config, also of models that have no cache."""
    config = ZenConfig()
    config.use_cache = False
    config.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["use_cache"] is False
    assert ZenConfig.from_pretrained(tmp_path).hidden_size == config.hidden_size


@pytest.mark.parametrize(("head", "dropout"), [("convolution", 0.5), ("transformer", 0.1)])
def test_dropout_follows_the_temporal_head(head: Any, dropout: float) -> None:
    assert ZenConfig(temporal_head=head).temporal_dropout == dropout
    assert ZenConfig(temporal_head=head, temporal_dropout=0.0).temporal_dropout == 0.0

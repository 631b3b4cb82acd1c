"""Loading a trunk: every weight exactly once, into a backbone alone or deep inside a head, or a sentence why not."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import DPTConfig, DPTForDepthEstimation, UperNetConfig, UperNetForSemanticSegmentation

from modeling_zen import ZenBackbone, ZenConfig, ZenForImageClassification, ZenModel
from modeling_zen.adapter_zen import ENCODER_FIELDS, FREE_ENCODER_FIELDS
from modeling_zen.trunk import load_trunk, load_zen_backbone, zen_backbone_config

from .conftest import SMALL_HEADS, TINY

FOUR: dict[str, Any] = {**TINY, "num_hidden_layers": 4}


@pytest.fixture
def trunk(trunk_folder: Path) -> ZenModel:
    return ZenModel.from_pretrained(trunk_folder)


def upernet_on(config: ZenConfig) -> UperNetForSemanticSegmentation:
    small = {**SMALL_HEADS["upernet"], "use_auxiliary_head": False}
    return UperNetForSemanticSegmentation(UperNetConfig(backbone_config=config, **small))


def same_weights(backbone: nn.Module, trunk: ZenModel) -> bool:
    own = backbone.state_dict()
    return all(torch.equal(weight, own[name]) for name, weight in trunk.state_dict().items())


def test_every_field_of_the_encoder_is_listed() -> None:
    """A new field of the encoder must be in one of the lists, or two trunks that differ in it would pass for one."""
    fields = ZenConfig._field_names()
    encoder = fields[: fields.index("out_features")]
    assert sorted(encoder) == sorted((*ENCODER_FIELDS, *FREE_ENCODER_FIELDS))


@pytest.mark.parametrize(
    ("form", "fields"),
    [
        ("map", {"reshape_hidden_states": True, "pyramid_scale_factors": None}),
        ("tokens", {"reshape_hidden_states": False, "return_class_token": True}),
        ("patches", {"reshape_hidden_states": False, "return_class_token": False}),
        ("pyramid", {"reshape_hidden_states": True, "pyramid_scale_factors": [4, 2, 1, 0.5]}),
    ],
)
def test_forms(form: Any, fields: dict[str, Any], trunk_folder: Path) -> None:
    stages = 1 if form == "pyramid" else 2
    config = zen_backbone_config(trunk_folder, form, num_stages=stages, drop_path_rate=0.1, local_files_only=True)
    wanted = {**fields, "out_features": ["stage2", "stage4"][-stages:], "hidden_size": 32, "layerscale_value": 1.0}
    assert {name: getattr(config, name) for name in wanted} == wanted
    assert config.drop_path_rate == 0.1


def test_a_backbone_config_is_checked(trunk_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown form 'maps'; a ZenBackbone returns map, tokens, patches, pyramid$"):
        zen_backbone_config(trunk_folder, "maps")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"5 stages cannot be spread over an encoder of 4 layers"):
        zen_backbone_config(trunk_folder, num_stages=5)
    with pytest.raises(ValueError, match=r"no field 'drop_path' \(did you mean 'drop_path_rate'\?\)"):
        zen_backbone_config(trunk_folder, drop_path=0.1)
    assert zen_backbone_config(trunk_folder, num_stages=4, out_indices=[1]).out_features == ["stage1"]


def test_nothing_of_a_stored_head_comes_along(trunk: ZenModel, tmp_path: Path) -> None:
    trunk.config.id2label = {0: "liver", 1: "gallbladder", 2: "fat"}
    trunk.save_pretrained(tmp_path)
    config = zen_backbone_config(tmp_path)
    assert config.num_labels == 2
    assert not hasattr(config, "auto_map")


def test_a_backbone_from_a_folder(trunk_folder: Path, trunk: ZenModel, pixels: torch.Tensor) -> None:
    backbone = load_zen_backbone(trunk_folder, out_features=["stage2", "stage4"], reshape_hidden_states=False)
    assert type(backbone) is ZenBackbone
    assert not backbone.training
    assert same_weights(backbone, trunk)
    tokens = backbone(pixels).feature_maps[-1]
    assert torch.equal(tokens[:, 1:], trunk(pixels).last_hidden_state[:, 5:])
    assert load_zen_backbone(str(trunk_folder)).out_features == ["stage4"]
    assert load_zen_backbone(trunk_folder, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_a_backbone_keeps_the_stored_form_and_dtype(trunk: ZenModel, tmp_path: Path) -> None:
    fields: dict[str, Any] = {**FOUR, "out_features": ["stage1", "stage3"], "pyramid_scale_factors": [2, 0.5]}
    stored = ZenBackbone(ZenConfig(**fields)).bfloat16()
    stored.save_pretrained(tmp_path)
    again = load_zen_backbone(tmp_path)
    assert again.dtype == torch.bfloat16
    assert again.out_features == ["stage1", "stage3"]
    assert again.config.pyramid_scale_factors == [2, 0.5]
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in stored.state_dict().items())
    # The same layers on other stages, or with other factors, would be another function: they start anew.
    other = load_zen_backbone(tmp_path, out_features=["stage2", "stage4"])
    assert not torch.equal(other.pyramid.scales["0_x2"][0].weight, stored.pyramid.scales["0_x2"][0].weight)
    assert torch.equal(other.norm.weight, stored.norm.weight)


def test_a_backbone_from_the_hub(trunk_folder: Path, trunk: ZenModel, tmp_path: Path) -> None:
    """A Hub id, here out of the cache on disk, at a branch."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--surgeon--zen"
    shutil.copytree(trunk_folder, repository / "snapshots" / commit)
    for branch in ("main", "second"):
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / branch).write_text(commit)
    cache: dict[str, Any] = {"cache_dir": tmp_path, "local_files_only": True}
    assert same_weights(load_zen_backbone("surgeon/zen", **cache), trunk)
    assert same_weights(load_zen_backbone("surgeon/zen", revision="second", **cache), trunk)
    message = r"^no ZEN model in surgeon/zen, which is no folder here: We couldn't connect .* in the cached files$"
    with pytest.raises(FileNotFoundError, match=message):
        load_zen_backbone("surgeon/zen", revision="third", **cache)


@pytest.mark.parametrize("path", ["nowhere", Path("nowhere"), "./nowhere", "a/b/nowhere"])
def test_a_folder_that_is_not_there(path: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nowhere").mkdir()
    with pytest.raises(FileNotFoundError, match=r"^no ZEN model in .*nowhere: .*config\.json does not exist$"):
        load_zen_backbone(path)


@pytest.mark.parametrize(
    "path", ["./zen_of_old", "../zen_of_old", "/zen_of_old", "~/zen_of_old", Path("owner/zen_of_old")]
)
def test_what_looks_like_a_folder_is_not_asked_for_on_the_hub(path: Any) -> None:
    with pytest.raises(FileNotFoundError, match=r"^no ZEN model in .*zen_of_old: .*config\.json does not exist$"):
        load_zen_backbone(path)


def test_a_damaged_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(
        ValueError, match=r"^the config of .* cannot be read: .*config\.json' is not a valid JSON file$"
    ):
        load_zen_backbone(tmp_path)


def test_the_trunk_of_a_head(trunk_folder: Path, trunk: ZenModel) -> None:
    """The trunk is loaded, everything else stays, and so do mode and dtype."""
    torch.manual_seed(0)
    model = upernet_on(zen_backbone_config(trunk_folder, "pyramid")).train()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    assert not same_weights(model.backbone, trunk)
    assert load_trunk(model, trunk_folder) is model
    assert same_weights(model.backbone, trunk)
    assert model.training
    loaded = {f"backbone.{name}" for name in trunk.state_dict()}
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items() if name not in loaded)
    half = load_trunk(upernet_on(zen_backbone_config(trunk_folder, "pyramid")).bfloat16(), trunk_folder)
    assert half.dtype == torch.bfloat16


def test_the_trunk_out_of_a_saved_head(trunk: ZenModel, tmp_path: Path) -> None:
    """A folder saved with a head of ZEN serves too."""
    head = ZenForImageClassification(ZenConfig(**FOUR, num_labels=3))
    head.zen.load_state_dict(trunk.state_dict())
    head.save_pretrained(tmp_path)
    assert same_weights(load_zen_backbone(tmp_path), trunk)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 48}, "hidden_size is 32 there and 48 here; intermediate_size is 128 there and 192 here$"),
        ({"rope_theta": 10.0}, r"rope_theta is 100\.0 there and 10\.0 here$"),
        ({"num_attention_heads": 2}, "num_attention_heads is 4 there and 2 here$"),
        ({"num_register_tokens": 0}, "num_register_tokens is 3 there and 0 here$"),
        ({"position_embedding": "learned"}, "position_embedding is 'rotary' there and 'learned' here$"),
    ],
)
def test_another_encoder_is_refused(change: dict[str, Any], message: str, trunk_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"zen holds another encoder than UperNet\w+\.backbone: " + message):
        load_trunk(upernet_on(ZenConfig(**{**FOUR, **change})), trunk_folder)
    if "hidden_size" not in change:
        with pytest.raises(ValueError, match=r"zen holds another encoder than ZenBackbone: " + message):
            load_zen_backbone(trunk_folder, **change)


def test_learned_positions_belong_to_their_image_size(tmp_path: Path) -> None:
    ZenModel(ZenConfig(**FOUR, position_embedding="learned")).save_pretrained(tmp_path)
    assert load_zen_backbone(tmp_path).config.image_size == 64
    assert load_zen_backbone(tmp_path, image_size=[64, 64]).config.position_grid == (4, 4)
    with pytest.raises(ValueError, match=r"position_grid is \(4, 4\) there and \(2, 2\) here$"):
        load_zen_backbone(tmp_path, image_size=32)


def test_models_without_one_backbone(trunk_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"^Linear holds no ZenBackbone; .* as head_config makes it"):
        load_trunk(nn.Linear(1, 1), trunk_folder)
    two = nn.ModuleDict({name: ZenBackbone(ZenConfig(**FOUR)) for name in ("left", "right")})
    with pytest.raises(ValueError, match=r"^ModuleDict holds 2 ZenBackbones \(left, right\); give load_trunk one"):
        load_trunk(two, trunk_folder)
    load_trunk(two["left"], trunk_folder)


def test_a_trunk_that_was_changed_is_refused(trunk_folder: Path) -> None:
    model = upernet_on(ZenConfig(**FOUR))
    model.backbone.layers[0].mlp.up_proj = nn.Sequential(model.backbone.layers[0].mlp.up_proj)
    with pytest.raises(
        ValueError,
        match=r"backbone is no plain ZenBackbone any more, .* 2 of its weights are not in the folder \(such as "
        r"layers\.0\.mlp\.up_proj\.0\.bias\) and 2 of the folder are not in it .* before adapters or quantisation$",
    ):
        load_trunk(model, trunk_folder)
    with torch.device("meta"):
        empty = upernet_on(ZenConfig(**FOUR))
    with pytest.raises(ValueError, match=r"backbone has no memory yet \(it is on the meta device\)"):
        load_trunk(empty, trunk_folder)
    with pytest.raises(ValueError, match=r"load_trunk has no argument 'strict'; it has cache_dir, "):
        load_trunk(upernet_on(ZenConfig(**FOUR)), trunk_folder, strict=False)


def test_an_inexact_folder_is_refused(trunk_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "zen"
    shutil.copytree(trunk_folder, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"1 missing: norm\.weight$"):
        load_trunk(upernet_on(ZenConfig(**FOUR)), folder)
    with pytest.raises(ValueError, match=r"1 missing: norm\.weight$"):
        load_zen_backbone(folder)


def test_the_folder_of_another_model_is_refused(trunk_folder: Path, tmp_path: Path) -> None:
    config = DPTConfig(backbone_config=zen_backbone_config(trunk_folder, "tokens", num_stages=4), **SMALL_HEADS["dpt"])
    DPTForDepthEstimation(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"test_the_folder_\w+ holds a 'dpt' model, not a ZEN encoder$"):
        load_zen_backbone(tmp_path)

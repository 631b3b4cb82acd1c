"""Adapters are loaded, swapped and merged exactly, or refused in a sentence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForDepthEstimation, AutoModelForImageClassification

from modeling_zen import ZenConfig, ZenForDepthEstimation, ZenForImageClassification, ZenModel
from modeling_zen.adapters import load_adapter, merge_adapter, swap_adapter
from modeling_zen.peft_targets import adapter_config

from .conftest import TINY

peft = pytest.importorskip("peft")


def save_adapter(model: Any, method: str, folder: Path, seed: int, **fields: Any) -> torch.Tensor:
    """Save an adapter with weights that do something."""
    adapted = peft.get_peft_model(model, adapter_config(method, model, **fields))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    adapted.save_pretrained(folder)
    return adapted.eval()


def edit(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    weights = load_file(folder / "adapter_model.safetensors")
    change(weights)
    save_file(weights, folder / "adapter_model.safetensors")


@pytest.fixture
def head(trunk_folder: Path) -> ZenForImageClassification:
    torch.manual_seed(3)
    return ZenForImageClassification.from_pretrained(trunk_folder, num_labels=3)


def test_several_adapters_in_one_batch(trunk_folder: Path, pixels: torch.Tensor, tmp_path: Path) -> None:
    """Adapters of one head: each with a classifier of its own."""
    for seed, name in enumerate(("a", "b")):
        torch.manual_seed(3)
        model = ZenForImageClassification.from_pretrained(trunk_folder, num_labels=3)
        save_adapter(model, "lora", tmp_path / name, seed, r=2 + seed)
    torch.manual_seed(3)
    head = ZenForImageClassification.from_pretrained(trunk_folder, num_labels=3)
    frame = pixels[:1]
    plain = head(frame).logits
    model = load_adapter(head, tmp_path / "a", "a")
    assert load_adapter(model, tmp_path / "b", "b") is model
    with torch.no_grad():
        mixed = model(pixel_values=frame.expand(4, -1, -1, -1), adapter_names=["b", "a", "__base__", "b"]).logits
        alone = {}
        for name in ("a", "b"):
            model.set_adapter(name)
            alone[name] = model(pixel_values=frame).logits
    assert (alone["a"] - alone["b"]).abs().max() > 0.01
    for row, expected in zip(mixed, (alone["b"], alone["a"], plain, alone["b"]), strict=True):
        assert torch.allclose(row, expected[0], atol=1e-5)


@pytest.mark.parametrize("method", ["lora", "dora", "ia3", "oft"])
def test_swapping_is_exact_and_in_place(
    method: str, head: ZenForImageClassification, trunk_folder: Path, pixels: torch.Tensor, tmp_path: Path
) -> None:
    save_adapter(head, method, tmp_path / "old", seed=1)
    second = ZenForImageClassification.from_pretrained(trunk_folder, num_labels=3)
    expected = save_adapter(second, method, tmp_path / "new", seed=2)(pixels).logits  # type: ignore[operator]
    model = load_adapter(ZenForImageClassification.from_pretrained(trunk_folder, num_labels=3), tmp_path / "old")
    before = model(pixels).logits
    pointers = {name: weight.data_ptr() for name, weight in model.state_dict().items()}
    swap_adapter(model, tmp_path / "new")
    assert torch.equal(model(pixels).logits, expected)
    assert {name: weight.data_ptr() for name, weight in model.state_dict().items()} == pointers
    swap_adapter(model, tmp_path / "old")
    assert torch.equal(model(pixels).logits, before)


def test_hotswap_of_peft(trunk_folder: Path, pixels: torch.Tensor, tmp_path: Path) -> None:
    """On a bare encoder, where nothing but LoRA is to be swapped."""
    hotswap = pytest.importorskip("peft.utils.hotswap").hotswap_adapter
    for seed, name in enumerate(("old", "new")):
        save_adapter(ZenModel.from_pretrained(trunk_folder), "lora", tmp_path / name, seed)
    models = [load_adapter(ZenModel.from_pretrained(trunk_folder), tmp_path / "old") for _ in range(2)]
    hotswap(models[0], str(tmp_path / "new"), adapter_name="default")
    swap_adapter(models[1], tmp_path / "new")
    assert torch.equal(models[0](pixels).pooler_output, models[1](pixels).pooler_output)


def test_what_cannot_be_swapped(head: ZenForImageClassification, trunk_folder: Path, tmp_path: Path) -> None:
    save_adapter(head, "lora", tmp_path / "old", seed=1)
    other = ZenForImageClassification.from_pretrained(trunk_folder, num_labels=3)
    save_adapter(other, "lora", tmp_path / "scaled", seed=2, lora_alpha=8)
    with pytest.raises(ValueError, match=r"Classification has no adapter 'default' to replace; it has none"):
        swap_adapter(ZenForImageClassification(head.config), tmp_path / "old")
    model = load_adapter(ZenForImageClassification.from_pretrained(trunk_folder, num_labels=3), tmp_path / "old", "a")
    with pytest.raises(ValueError, match=r"has no adapter 'b' to replace; it has a$"):
        swap_adapter(model, tmp_path / "old", "b")
    with pytest.raises(ValueError, match=r"cannot replace the adapter 'a': lora_alpha is 8 there and 16 here$"):
        swap_adapter(model, tmp_path / "scaled", "a")
    shutil.copytree(tmp_path / "old", tmp_path / "short")
    edit(tmp_path / "short", lambda w: [w.pop(name) for name in list(w) if ".layers.3." in name])
    with pytest.raises(ValueError, match=r"does not hold exactly .*: 12 missing, such as .*\.layers\.3"):
        swap_adapter(model, tmp_path / "short", "a")
    model.merge_adapter()
    with pytest.raises(ValueError, match=r"^the adapter 'a' is merged into the model; call unmerge_adapter\(\) before"):
        swap_adapter(model, tmp_path / "old", "a")


def test_a_merged_model_is_an_ordinary_one(
    head: ZenForImageClassification, pixels: torch.Tensor, tmp_path: Path
) -> None:
    adapted: Any = save_adapter(head, "oft", tmp_path / "adapter", seed=1)
    expected = adapted(pixels).logits
    merge_adapter(adapted).save_pretrained(tmp_path / "merged")  # type: ignore[operator]
    loaded = AutoModelForImageClassification.from_pretrained(tmp_path / "merged")
    assert torch.allclose(loaded(pixels).logits, expected, atol=1e-5)
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    with pytest.raises(ValueError, match=r"^ZenForImageClassification is no PeftModel and has no adapter to merge$"):
        merge_adapter(loaded)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_size": 64}, r"holds the adapter of another model: hidden_size is 32 there and 64 here; interm"),
        ({"num_hidden_layers": 5}, r"num_hidden_layers is 4 there and 5 here$"),
        ({"num_hidden_layers": 3}, r"num_hidden_layers is 4 there and 3 here$"),
        ({"num_labels": 4}, r"id2label is \{0: 'LABEL_0', .*\} there and \{0: 'LABEL_0', .*\} here$"),
        ({"rope_theta": 50.0}, r"rope_theta is 100\.0 there and 50\.0 here$"),
    ],
)
def test_the_adapter_of_another_model(
    fields: dict[str, Any], message: str, head: ZenForImageClassification, tmp_path: Path
) -> None:
    save_adapter(head, "lora", tmp_path, seed=1)
    config = ZenConfig(**{**TINY, "num_hidden_layers": 4, "num_labels": 3, **fields})
    other = ZenForImageClassification(config)
    names = set(other.state_dict())
    with pytest.raises(ValueError, match=message):
        load_adapter(other, tmp_path)
    with pytest.raises(ValueError, match=message):
        other.load_adapter(tmp_path)
    (tmp_path / "head_config.json").unlink()  # an adapter that was not made by our configuration
    if "rope_theta" not in fields:
        with pytest.raises(ValueError, match=r"(exactly the weights of an adapter of this model|does not fit)"):
            load_adapter(other, tmp_path)
    assert set(other.state_dict()) == names


def test_depths_of_another_range_are_another_model(trunk_folder: Path, tmp_path: Path) -> None:
    """The same shapes, and a silently wrong depth."""
    head = ZenForDepthEstimation.from_pretrained(trunk_folder, max_depth=50)
    save_adapter(head, "lora", tmp_path, seed=1)
    with pytest.raises(ValueError, match=r"max_depth is 50 there and 300\.0 here$"):
        load_adapter(ZenForDepthEstimation.from_pretrained(trunk_folder), tmp_path)
    assert AutoModelForDepthEstimation.from_pretrained(tmp_path).config.max_depth == 50


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda w: w.pop("base_model.model.classifier.bias"), "1 missing"),
        (lambda w: [w.pop(key) for key in list(w) if ".layers.1." in key], "12 missing"),
        (lambda w: w.update(extra=torch.zeros(1)), "1 unknown to the model"),
        (lambda w: w.update({"base_model.model.classifier.bias": torch.zeros(7)}), "1 of another shape"),
    ],
)
def test_no_weight_is_left_to_chance(
    change: Callable, fault: str, head: ZenForImageClassification, trunk_folder: Path, tmp_path: Path
) -> None:
    save_adapter(head, "lora", tmp_path, seed=1)
    edit(tmp_path, change)
    fresh = ZenForImageClassification.from_pretrained(trunk_folder, num_labels=3)
    with pytest.raises(ValueError, match=rf"^{tmp_path} does not hold exactly .*: {fault}"):
        load_adapter(fresh, tmp_path)
    assert not any("lora" in name for name in fresh.state_dict())
    with pytest.raises(ValueError, match=rf"^{tmp_path} does not hold exactly .*: {fault}"):
        AutoModelForImageClassification.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=rf"^{tmp_path} does not hold exactly .*: {fault}"):
        fresh.load_adapter(tmp_path)


def test_without_the_config_of_the_head(head: ZenForImageClassification, pixels: torch.Tensor, tmp_path: Path) -> None:
    """As PEFT alone would save it: the number of labels must be given, or the shapes tell."""
    expected = save_adapter(head, "lora", tmp_path, seed=1)(pixels).logits  # type: ignore[operator]
    (tmp_path / "head_config.json").unlink()
    loaded = AutoModelForImageClassification.from_pretrained(tmp_path, num_labels=3)
    assert torch.allclose(loaded(pixels).logits, expected, atol=1e-6)
    with pytest.raises(ValueError, match=r"2 of another shape: classifier.*bias is \(3,\), not \(2,\)"):
        AutoModelForImageClassification.from_pretrained(tmp_path)


def test_a_damaged_or_absent_adapter(head: ZenForImageClassification, tmp_path: Path) -> None:
    save_adapter(head, "lora", tmp_path / "adapter", seed=1)
    (tmp_path / "adapter" / "head_config.json").write_text("{")
    fresh = ZenForImageClassification(head.config)
    with pytest.raises(ValueError, match=r"^head_config\.json in .*adapter is no JSON: "):
        load_adapter(fresh, tmp_path / "adapter")
    (tmp_path / "adapter" / "head_config.json").write_text(json.dumps({"model_type": "zen", "hiden_size": 3}))
    with pytest.raises(ValueError, match=r"ZenConfig has no field 'hiden_size' \(did you mean 'hidden_size'\?\)"):
        AutoModelForImageClassification.from_pretrained(tmp_path / "adapter")
    with pytest.raises(FileNotFoundError, match=r"^no adapter can be read from .*nowhere: "):
        load_adapter(fresh, tmp_path / "nowhere")


def test_a_name_is_taken_once(head: ZenForImageClassification, tmp_path: Path) -> None:
    adapted: Any = save_adapter(head, "lora", tmp_path, seed=1)
    assert isinstance(adapted, nn.Module)
    with pytest.raises(ValueError, match=r"^the model has an adapter 'default' already; swap_adapter replaces it$"):
        load_adapter(adapted, tmp_path)

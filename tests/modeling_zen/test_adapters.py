"""Adapters are loaded, swapped and merged exactly, or refused in a sentence."""

import copy
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
from modeling_zen.adapter_zen import refuse_another_model
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
        ({"num_labels": 4}, r"holds the adapter of another model: num_labels is 3 there and 4 here$"),
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
    with pytest.raises(
        FileNotFoundError, match=r"^no adapter can be read from .*nowhere: .*config\.json does not exist$"
    ):
        load_adapter(fresh, tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"^load_adapter has no argument 'revison'; it has cache_dir, .* revision, "):
        load_adapter(fresh, tmp_path / "adapter", revison="main")
    with pytest.raises(ValueError, match=r"^swap_adapter has no argument 'revison'; it has cache_dir, "):
        swap_adapter(fresh, tmp_path / "adapter", revison="main")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("head_config.json", b"[]", r"^head_config\.json in \S+ holds a list, not the fields of a config$"),
        ("head_config.json", b"\xff\xfe", r"^head_config\.json in \S+ is no JSON: 'utf-8' codec can't decode"),
        (
            "adapter_config.json",
            b"{",
            r"adapter_config\.json does not configure an adapter of PEFT: Expecting property",
        ),
        ("adapter_config.json", b"{}", r"adapter_config\.json does not configure an adapter of PEFT: .*'peft_type'"),
        ("adapter_model.safetensors", b"{", r"^\S+adapter_model\.safetensors cannot be read: Error while deserial"),
        ("adapter_model.safetensors", None, r"adapter_model\.safetensors does not exist$"),
    ],
)
def test_a_damaged_file(
    file: str, content: bytes | None, message: str, head: ZenForImageClassification, tmp_path: Path
) -> None:
    save_adapter(head, "ia3", tmp_path, seed=1)
    (tmp_path / "adapter_model.bin").write_bytes(b"a pickle, which nobody opens")
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(FileNotFoundError if content is None else ValueError, match=message):
        load_adapter(ZenForImageClassification(head.config), tmp_path)


def test_an_adapter_of_the_hub(head: ZenForImageClassification, pixels: torch.Tensor, tmp_path: Path) -> None:
    """Out of the cache on disk."""
    expected = save_adapter(head, "ia3", tmp_path / "adapter", seed=1)(pixels).logits  # type: ignore[operator]
    commit, repository = "0123456789abcdef0123456789abcdef01234567", tmp_path / "models--surgeon--phase"
    shutil.copytree(tmp_path / "adapter", repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    cache: dict[str, Any] = {"cache_dir": tmp_path, "local_files_only": True}
    base = merge_adapter(copy.deepcopy(load_adapter(plain_copy(head), tmp_path / "adapter")))
    assert torch.allclose(base(pixels).logits, expected, atol=1e-5)
    assert torch.equal(load_adapter(plain_copy(head), "surgeon/phase", **cache)(pixels).logits, expected)
    with pytest.raises(
        FileNotFoundError, match=r"^no adapter can be read from surgeon/tools: We couldn't connect .* files$"
    ):
        load_adapter(plain_copy(head), "surgeon/tools", **cache)


def plain_copy(adapted: ZenForImageClassification) -> ZenForImageClassification:
    """The same head as before it got an adapter, its own layers aside."""
    path = adapted.config._name_or_path
    return ZenForImageClassification.from_pretrained(path, num_labels=adapted.config.num_labels)


def test_the_adapter_of_another_head(trunk_folder: Path, tmp_path: Path) -> None:
    """Also where the weights would fit."""
    depth = ZenForDepthEstimation.from_pretrained(trunk_folder)
    save_adapter(depth, "lora", tmp_path / "depth", seed=1)
    head = ZenForImageClassification.from_pretrained(trunk_folder)
    message = r"depth holds the adapter of a ZenForDepthEstimation, not of a ZenForImageClassification$"
    with pytest.raises(ValueError, match=message):
        load_adapter(head, tmp_path / "depth")
    with pytest.raises(ValueError, match=r"the adapter of a ZenForDepthEstimation, not of a ZenModel$"):
        load_adapter(ZenModel.from_pretrained(trunk_folder), tmp_path / "depth")
    several = ZenForImageClassification.from_pretrained(trunk_folder, problem_type="multi_label_classification")
    save_adapter(several, "lora", tmp_path / "tools", seed=1)
    message = r"tools holds the adapter .*: problem_type is 'multi_label_classification' there and None here$"
    with pytest.raises(ValueError, match=message):
        load_adapter(head, tmp_path / "tools")
    named = ZenForImageClassification.from_pretrained(trunk_folder, id2label={0: "LABEL_0", 1: "smoke"})
    with pytest.raises(ValueError, match=r"id2label\[1\] is 'LABEL_1' there and 'smoke' here; problem_type is"):
        load_adapter(named, tmp_path / "tools")


def test_learned_positions_of_the_same_grid(tmp_path: Path) -> None:
    configs = [
        ZenConfig(**{**TINY, "position_embedding": "learned", "image_size": size}) for size in (64, [64, 64], 80)
    ]
    refuse_another_model(configs[0], configs[1], "it", head=True)
    with pytest.raises(ValueError, match=r"^it holds .*: position_grid is \(4, 4\) there and \(5, 5\) here$"):
        refuse_another_model(configs[0], configs[2], "it", head=True)


def test_training_further_keeps_the_labels(trunk_folder: Path, tmp_path: Path) -> None:
    """`head_config.json` comes along, whether the configuration was made here or read."""
    names = {0: "clean", 1: "smoke", 2: "blood"}
    head = ZenForImageClassification.from_pretrained(trunk_folder, id2label=names)
    save_adapter(head, "lora", tmp_path / "first", seed=1)
    fresh = ZenForImageClassification.from_pretrained(trunk_folder, id2label=names)
    model = load_adapter(fresh, tmp_path / "first", trainable=True)
    assert {name.split(".")[-2] for name, weight in model.named_parameters() if weight.requires_grad} == {"default"}
    model.save_pretrained(tmp_path / "second")
    assert AutoModelForImageClassification.from_pretrained(tmp_path / "second").config.id2label == names
    load_adapter(model, tmp_path / "second", "more")
    model.save_pretrained(tmp_path / "third")
    assert (tmp_path / "third" / "more" / "head_config.json").is_file()


def test_adapters_of_transformers_are_no_peft_models(head: ZenForImageClassification, tmp_path: Path) -> None:
    save_adapter(head, "lora", tmp_path, seed=1)
    loaded = AutoModelForImageClassification.from_pretrained(tmp_path)
    calls: list[Callable] = [
        lambda: load_adapter(loaded, tmp_path, "second"),
        lambda: swap_adapter(loaded, tmp_path),
        lambda: merge_adapter(loaded),
    ]
    for call in calls:
        with pytest.raises(
            ValueError, match=r"^this ZenForImageClassification got its adapter from transformers .* load_ad"
        ):
            call()


def test_a_broken_adapter_is_not_merged(head: ZenForImageClassification, tmp_path: Path) -> None:
    adapted: Any = save_adapter(head, "lora", tmp_path, seed=1)
    with torch.no_grad():
        next(weight for name, weight in adapted.named_parameters() if "lora_B" in name).fill_(float("nan"))
    with pytest.raises(ValueError, match=r"^NaNs detected in the merged weights\. The adapter default seems"):
        merge_adapter(adapted)


@pytest.mark.parametrize("method", ["lora", "dora", "ia3", "oft"])
def test_merging_and_back_is_the_same(
    method: str, head: ZenForImageClassification, pixels: torch.Tensor, tmp_path: Path
) -> None:
    model: Any = save_adapter(head, method, tmp_path, seed=1)
    with torch.no_grad():
        expected = model(pixels).logits
        for change in (model.merge_adapter, model.unmerge_adapter, lambda: swap_adapter(model, tmp_path)):
            change()
            assert (model(pixels).logits - expected).abs().max() <= 1e-5


def test_a_name_is_taken_once(head: ZenForImageClassification, tmp_path: Path) -> None:
    adapted: Any = save_adapter(head, "lora", tmp_path, seed=1)
    assert isinstance(adapted, nn.Module)
    with pytest.raises(ValueError, match=r"^the model has an adapter 'default' already; swap_adapter replaces it$"):
        load_adapter(adapted, tmp_path)
    for name in ("", "a.b", "weight", "training", "__base__"):
        with pytest.raises(
            ValueError, match=rf"^an adapter cannot be called '{name}'; take another name, without a dot$"
        ):
            load_adapter(adapted, tmp_path, name)

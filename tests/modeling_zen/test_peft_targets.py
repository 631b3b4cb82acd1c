"""Presets of PEFT: only adapters and head train, and what is saved comes back through the Auto class of the head."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn
from transformers import UperNetConfig, UperNetForSemanticSegmentation

from modeling_zen import (
    ZenBackbone,
    ZenConfig,
    ZenForActionTriplet,
    ZenForDepthEstimation,
    ZenForImageClassification,
    ZenForMaskedImageModeling,
    ZenForSemanticSegmentation,
    ZenForVideoClassification,
    ZenForVideoFrameClassification,
    ZenForVisualQuestionAnswering,
    ZenModel,
)
from modeling_zen.adapters import load_adapter, merge_adapter
from modeling_zen.head_families import HEAD_FAMILIES, head_config
from modeling_zen.peft_targets import adapter_config, find_encoder
from modeling_zen.trunk import load_trunk, zen_backbone_config

from .conftest import SMALL_HEADS, TINY

peft = pytest.importorskip("peft")

METHODS = ("lora", "dora", "ia3", "oft")
NAMES = {0: "preparation", 1: "dissection", 2: "clipping"}
LABELS = {"id2label": NAMES, "label2id": {name: index for index, name in NAMES.items()}}
TRIPLETS: dict[str, Any] = {
    "instruments": ["grasper", "hook"],
    "verbs": ["grasp", "cut"],
    "targets": ["liver"],
    "triplets": [[0, 0, 0], [1, 1, 0], [1, 0, 0]],
}
# Per head its Auto class, the fields it needs and labels for two frames of 48 x 80 pixels (of one clip, for videos).
HEADS: dict[type, tuple[str, dict[str, Any], torch.Tensor]] = {
    ZenForImageClassification: ("AutoModelForImageClassification", LABELS, torch.tensor([0, 2])),
    ZenForActionTriplet: ("AutoModelForImageClassification", TRIPLETS, torch.tensor([[1.0, 0, 0], [0, 1, 1]])),
    ZenForSemanticSegmentation: (
        "AutoModelForSemanticSegmentation",
        LABELS,
        torch.arange(2).view(2, 1, 1).expand(2, 3, 5),
    ),
    ZenForDepthEstimation: (
        "AutoModelForDepthEstimation",
        {"min_depth": 2.0, "max_depth": 50.0},
        torch.full((2, 3, 5), 5.0),
    ),
    ZenForVideoClassification: ("AutoModelForVideoClassification", LABELS, torch.tensor([2])),
    ZenForVideoFrameClassification: (
        "AutoModelForVideoClassification",
        {**LABELS, "temporal_num_layers": 2, "temporal_hidden_size": 8, "temporal_dropout": 0.0},
        torch.tensor([[0, 2]]),
    ),
}
EVERY_HEAD = pytest.mark.parametrize("head_class", HEADS, ids=lambda head_class: head_class.__name__)


def new_head(head_class: Any, trunk_folder: Path) -> Any:
    torch.manual_seed(3)
    return head_class.from_pretrained(trunk_folder, **HEADS[head_class][1])


def answer(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    base = model.get_base_model() if isinstance(model, peft.PeftModel) else model
    with torch.no_grad():
        outputs = model.eval()(pixels[None] if base.main_input_name == "pixel_values_videos" else pixels)
    return outputs["predicted_depth"] if "predicted_depth" in outputs else outputs["logits"]


def train(model: nn.Module, pixels: torch.Tensor, labels: torch.Tensor, steps: int = 3) -> list[float]:
    """Losses of so many steps on one batch."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=0.005)
    losses = []
    for _ in range(steps):
        loss = model.train()(pixels, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def same_adapter(loaded: nn.Module, model: nn.Module) -> bool:
    weights = [peft.get_peft_model_state_dict(each, adapter_name="default") for each in (loaded, model)]
    first, second = ({name.removeprefix("base_model.model."): x for name, x in each.items()} for each in weights)
    return first.keys() == second.keys() and all(torch.equal(weight, second[name]) for name, weight in first.items())


def relative_error(given: torch.Tensor, right: torch.Tensor) -> float:
    return ((given - right).abs().max() / right.abs().max()).item()


@EVERY_HEAD
@pytest.mark.parametrize("method", METHODS)
def test_train_save_load_merge(
    method: str, head_class: Any, trunk_folder: Path, pixels: torch.Tensor, tmp_path: Path
) -> None:
    auto_class, fields, labels = HEADS[head_class]
    head = new_head(head_class, trunk_folder)
    model = peft.get_peft_model(head, adapter_config(method, head))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    frames = pixels[None] if head_class.main_input_name == "pixel_values_videos" else pixels
    losses = train(model, frames, labels)
    assert losses[-1] < losses[0]
    changed = {name for name, weight in model.state_dict().items() if not torch.equal(weight, before[name])}
    assert any(".zen." in name for name in changed)
    assert any(".zen." not in name for name in changed)
    assert all(f".{peft_prefix(method)}" in name or ".modules_to_save." in name for name in changed)

    expected = answer(model, pixels)
    model.save_pretrained(tmp_path)
    files = {"adapter_config.json", "adapter_model.safetensors", "head_config.json", "README.md"}
    assert {file.name for file in tmp_path.iterdir()} == files
    loaded = getattr(transformers, auto_class).from_pretrained(tmp_path)
    assert type(loaded) is head_class
    assert same_adapter(loaded, model)
    assert relative_error(answer(loaded, pixels), expected) <= 1e-6  # where weights lie in memory decides on rounding
    assert {name: getattr(loaded.config, name) for name in fields} == fields
    strict = load_adapter(new_head(head_class, trunk_folder), tmp_path)
    assert torch.equal(answer(strict, pixels), expected)
    assert same_adapter(strict, model)
    merged: Any = merge_adapter(strict)
    assert type(merged) is head_class
    assert merged.state_dict().keys() == head_class.from_pretrained(trunk_folder, **fields).state_dict().keys()
    assert relative_error(answer(merged, pixels), expected) <= 1e-5


def peft_prefix(method: str) -> str:
    """How the names of adapters begin in each layer."""
    return {"lora": "lora_", "dora": "lora_", "ia3": "ia3_", "oft": "oft_"}[method]


@pytest.mark.parametrize("method", METHODS)
def test_on_a_head_of_transformers(method: str, trunk_folder: Path, pixels: torch.Tensor, tmp_path: Path) -> None:
    """The head has to be saved once, so that the adapter has a base; the pyramid of the backbone is of the head."""
    torch.manual_seed(3)
    config = UperNetConfig(
        backbone_config=zen_backbone_config(trunk_folder, "pyramid"),
        **{**SMALL_HEADS["upernet"], "use_auxiliary_head": False, "num_labels": 3},
    )
    load_trunk(UperNetForSemanticSegmentation(config), trunk_folder).save_pretrained(tmp_path / "base")
    head = UperNetForSemanticSegmentation.from_pretrained(tmp_path / "base")
    model = peft.get_peft_model(head, adapter_config(method, head))
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    whole = ("base_model.model.decode_head.", "base_model.model.backbone.pyramid.")
    assert {name for name in trainable if name.startswith(whole)} == {
        name for name, _ in model.named_parameters() if name.startswith(whole) and ".modules_to_save." in name
    }
    assert all(f".{peft_prefix(method)}" in name for name in trainable if not name.startswith(whole))
    frames = torch.nn.functional.interpolate(pixels, (64, 64))
    losses = train(model, frames, torch.arange(2).view(2, 1, 1).expand(2, 64, 64))
    assert losses[-1] < losses[0]
    expected = answer(model, frames)
    model.save_pretrained(tmp_path / "adapter")
    loaded = transformers.AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "base")
    strict = load_adapter(loaded, tmp_path / "adapter")
    assert torch.equal(answer(strict, frames), expected)
    assert relative_error(answer(merge_adapter(strict), frames), expected) <= 1e-5
    if method != "dora":  # transformers' own loading misses the magnitudes of DoRA, which `load_adapter` does not
        automatic = transformers.AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "adapter")
        assert same_adapter(automatic, model)


@pytest.mark.parametrize("family", sorted(HEAD_FAMILIES.keys() - {"deformable_detr", "d_fine", "rt_detr_v2"}))
def test_every_weight_of_a_head_of_transformers_is_trained(family: str, trunk_folder: Path) -> None:
    config = head_config(family, trunk_folder, **SMALL_HEADS[family])
    head = getattr(transformers, HEAD_FAMILIES[family].model)(config)
    encoder = find_encoder(head)[0]
    model = peft.get_peft_model(head, adapter_config("ia3", head))
    for name, parameter in model.named_parameters():
        own = name.removeprefix("base_model.model.")
        in_encoder = own.startswith(f"{encoder}.") and not own.startswith(f"{encoder}.pyramid.")
        adapted = "ia3_" in name if in_encoder else "original_module" not in name
        assert parameter.requires_grad == adapted, name


def test_heads_with_loose_weights_are_refused(config: ZenConfig, trunk_folder: Path) -> None:
    with pytest.raises(
        ValueError, match=r"^PEFT saves layers only, but mask_token of ZenForMaskedImageModeling lie in"
    ):
        adapter_config("lora", ZenForMaskedImageModeling(config))
    detector: Any = head_config("deformable_detr", trunk_folder, **SMALL_HEADS["deformable_detr"])
    with pytest.raises(ValueError, match=r"but model\.level_embed of DeformableDetrForObjectDetection lie in none"):
        adapter_config("lora", transformers.DeformableDetrForObjectDetection(detector))


def test_through_the_adapters_of_transformers(trunk_folder: Path, pixels: torch.Tensor, tmp_path: Path) -> None:
    """`add_adapter` and `save_pretrained` of the model itself, and saving what was loaded."""
    head = new_head(ZenForDepthEstimation, trunk_folder)
    head.add_adapter(adapter_config("dora", head))
    train(head, pixels, HEADS[ZenForDepthEstimation][2])
    expected = answer(head, pixels)
    head.save_pretrained(tmp_path / "first")
    again = ZenForDepthEstimation.from_pretrained(tmp_path / "first")
    assert (again.config.max_depth, again.config._name_or_path) == (50.0, str(trunk_folder))
    again.save_pretrained(tmp_path / "second")
    for folder in ("first", "second"):
        loaded = transformers.AutoModelForDepthEstimation.from_pretrained(tmp_path / folder)
        assert torch.equal(answer(loaded, pixels), expected)
        stored = json.loads((tmp_path / folder / "adapter_config.json").read_text())
        assert stored["base_model_name_or_path"] == str(trunk_folder)


def test_the_caller_has_the_last_word(trunk_folder: Path, tmp_path: Path) -> None:
    head = new_head(ZenForImageClassification, trunk_folder)
    peft.get_peft_model(head, adapter_config("lora", head)).save_pretrained(tmp_path)
    options: dict[str, Any] = {"classifier_dropout": 0.25, "attn_implementation": "eager", "dtype": torch.float16}
    for loader in (transformers.AutoModelForImageClassification, ZenForImageClassification):
        loaded = loader.from_pretrained(tmp_path, **options)
        assert loaded.config.classifier_dropout == 0.25
        assert loaded.config._attn_implementation == "eager"
        assert loaded.zen.norm.weight.dtype == torch.float16
        assert loaded.config.id2label == NAMES


def test_a_head_that_reads_questions(trunk_folder: Path, pixels: torch.Tensor, tmp_path: Path) -> None:
    fields = {"num_labels": 4, "text_hidden_size": 16}
    head = ZenForVisualQuestionAnswering.from_pretrained(trunk_folder, **fields)
    model = peft.get_peft_model(head, adapter_config("lora", head))
    inputs = {"question_states": torch.randn(2, 6, 16)}
    model(pixels, labels=torch.tensor([0, 3]), **inputs).loss.backward()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                assert weight.grad is not None
                weight.add_(0.1 * torch.randn_like(weight))
    expected = model.eval()(pixels, **inputs).logits
    model.save_pretrained(tmp_path)
    loaded = transformers.AutoModelForVisualQuestionAnswering.from_pretrained(tmp_path)
    assert relative_error(loaded(pixels, **inputs).logits, expected) <= 1e-6
    strict = load_adapter(ZenForVisualQuestionAnswering.from_pretrained(trunk_folder, **fields), tmp_path)
    assert relative_error(merge_adapter(strict)(pixels, **inputs).logits, expected) <= 1e-5


def test_an_adapter_in_a_subfolder(trunk_folder: Path, tmp_path: Path) -> None:
    head = new_head(ZenForImageClassification, trunk_folder)
    peft.get_peft_model(head, adapter_config("lora", head)).save_pretrained(tmp_path / "epoch_3")
    strict = load_adapter(new_head(ZenForImageClassification, trunk_folder), tmp_path, subfolder="epoch_3")
    assert strict.get_base_model().config.id2label == NAMES


def test_a_swiglu_encoder_and_a_bare_one() -> None:
    model = ZenModel(ZenConfig(**{**TINY, "mlp": "swiglu"}))
    adapted = peft.get_peft_model(model, adapter_config("lora", model, r=2, lora_alpha=4))
    layers = {name.split(".lora_A")[0] for name, _ in adapted.named_parameters() if ".lora_A." in name}
    assert len(layers) == 2 * 7
    assert all(f"base_model.model.layers.{index}.mlp.gate_proj" in layers for index in range(2))
    assert (adapted.peft_config["default"].r, adapted.peft_config["default"].modules_to_save) == (2, None)
    assert adapter_config("oft", ZenModel(ZenConfig(**{**TINY, "hidden_size": 48}))).oft_block_size == 16
    backbone = ZenBackbone(ZenConfig(**TINY, pyramid_scale_factors=[2, 1]))
    assert adapter_config("lora", backbone).modules_to_save == ["pyramid"]
    assert adapter_config("ia3", adapted).target_modules == adapter_config("ia3", model).target_modules


def test_a_config_of_unknown_method_or_model(model: ZenModel) -> None:
    with pytest.raises(ValueError, match=r"^unknown adapter method 'loar'; the presets are lora, dora, ia3, oft$"):
        adapter_config("loar", model)
    with pytest.raises(ValueError, match=r"^LoraConfig has no field 'lora_alhpa' \(did you mean 'lora_alpha'\?\)$"):
        adapter_config("lora", model, lora_alhpa=3)
    with pytest.raises(ValueError, match=r"^OFTConfig has no field 'xyzzy'; it has task_type, "):
        adapter_config("oft", model, xyzzy=3)
    with pytest.raises(ValueError, match=r"^adapters sit on the one ZEN encoder .* in this Linear there is none$"):
        adapter_config("lora", nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"in this ModuleList there are 2: 0, 1$"):
        adapter_config("lora", nn.ModuleList([model, ZenModel(model.config)]))


def test_peft_is_asked_for_when_needed(model: ZenModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ImportError, match=r"^adapters need PEFT: pip install peft$"):
        adapter_config("lora", model)

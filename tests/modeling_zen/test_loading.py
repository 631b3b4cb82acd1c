"""Saving and loading: bit-equal, strict about every weight, the same through the Auto classes and the pipeline."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoImageProcessor, AutoModel, AutoModelForImageClassification, pipeline

from modeling_zen import (
    CHOLECT50,
    ZenConfig,
    ZenForActionTriplet,
    ZenForImageClassification,
    ZenImageProcessor,
    ZenModel,
    ZenPreTrainedModel,
)

from .conftest import TINY


def edit_weights(folder: Path, edit: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


# What each Auto class makes of a folder that holds only an encoder.
AUTO_CLASSES = {
    "AutoModel": "ZenModel",
    "AutoModelForImageClassification": "ZenForImageClassification",
    "AutoModelForVideoClassification": "ZenForVideoClassification",
    "AutoModelForSemanticSegmentation": "ZenForSemanticSegmentation",
    "AutoModelForDepthEstimation": "ZenForDepthEstimation",
    "AutoModelForMaskedImageModeling": "ZenForMaskedImageModeling",
    "AutoModelForZeroShotImageClassification": "ZenForZeroShotImageClassification",
    "AutoModelForVisualQuestionAnswering": "ZenForVisualQuestionAnswering",
}


def test_the_saved_folder_is_complete(folder: Path) -> None:
    """Whichever class is saved, config.json names a class for every Auto class, and the file of each lies there."""
    auto_map = json.loads((folder / "config.json").read_text())["auto_map"]
    assert auto_map.pop("AutoConfig") == "configuration_zen.ZenConfig"
    assert auto_map.pop("AutoBackbone") == "modeling_zen.ZenBackbone"
    assert {name: entry.split(".")[1] for name, entry in auto_map.items()} == AUTO_CLASSES
    code = {f"{entry.split('.')[0]}.py" for entry in auto_map.values()}
    assert code >= {"modeling_zen.py", "modeling_zen_image.py", "modeling_zen_text.py", "modeling_zen_video.py"}
    weights = {"config.json", "model.safetensors", "preprocessor_config.json"}
    assert {path.name for path in folder.iterdir()} >= weights | code | {"image_processing_zen.py"}


@pytest.mark.parametrize("loader", [ZenModel, AutoModel])
def test_loading_is_bit_equal(loader: Any, model: ZenModel, folder: Path, pixels: torch.Tensor) -> None:
    again = loader.from_pretrained(folder)
    assert type(again) is ZenModel
    assert not again.training
    assert again.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    assert torch.equal(again(pixels).last_hidden_state, model(pixels).last_hidden_state)


def test_loading_in_half_precision_equals_casting(model: ZenModel, folder: Path, pixels: torch.Tensor) -> None:
    loaded = ZenModel.from_pretrained(folder, dtype=torch.bfloat16)
    assert torch.equal(loaded(pixels).last_hidden_state, model.bfloat16()(pixels).last_hidden_state)


@pytest.mark.parametrize("loader", [ZenModel, AutoModel])
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda w: w.pop("norm.weight"), r"zen does not hold .* of ZenModel: 1 missing: norm\.weight$"),
        (lambda w: w.update(extra=torch.zeros(1)), r"of ZenModel: 1 unknown to the model: extra$"),
        (
            lambda w: w.update({"norm.bias": torch.zeros(31)}),
            r"1 of another shape: norm\.bias is \(31,\), not \(32,\)$",
        ),
        (
            lambda w: w.update(more=torch.zeros(1), extra=w.pop("norm.bias")),
            r"1 missing: norm\.bias; 2 unknown to the model: extra, more$",
        ),
        (lambda w: [w.pop(name) for name in list(w)[:20]], r"20 missing: .* and 10 more$"),
    ],
)
def test_inexact_checkpoints_are_refused(loader: Any, edit: Callable, message: str, folder: Path) -> None:
    edit_weights(folder, edit)
    with pytest.raises(ValueError, match=message):
        loader.from_pretrained(folder)


@pytest.mark.parametrize("loader", [ZenModel, AutoModel])
def test_a_truncated_file_is_named(loader: Any, folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"the weights in .*zen cannot be read: Error while deserializing"):
        loader.from_pretrained(folder)


@pytest.mark.parametrize("loader", [ZenModel, AutoModel])
def test_pickles_are_not_opened(loader: Any, folder: Path, model: ZenModel) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(OSError, match=r"no file named model\.safetensors found in directory .*zen"):
        loader.from_pretrained(folder)
    with pytest.raises(ValueError, match="from safetensors only: a pickle can run any code when it is opened"):
        loader.from_pretrained(folder, use_safetensors=False)


def test_an_encoder_comes_out_of_a_folder_with_a_head(folder: Path, model: ZenModel, tmp_path: Path) -> None:
    """The head is left behind; what is neither encoder nor a head of ZEN is still refused."""
    AutoModelForImageClassification.from_pretrained(folder, num_labels=3).save_pretrained(tmp_path / "head")
    encoder = AutoModel.from_pretrained(tmp_path / "head")
    assert type(encoder) is ZenModel
    assert all(torch.equal(value, encoder.state_dict()[name]) for name, value in model.state_dict().items())
    edit_weights(tmp_path / "head", lambda w: w.update(extra=torch.zeros(1)))
    with pytest.raises(ValueError, match=r"1 unknown to the model: extra$"):
        AutoModel.from_pretrained(tmp_path / "head")


def test_architectures_choose_within_an_auto_class(folder: Path, tmp_path: Path) -> None:
    triplets: Any = ZenForActionTriplet.from_pretrained(folder, **CHOLECT50)
    triplets.save_pretrained(tmp_path / "triplets")
    auto_map = json.loads((tmp_path / "triplets" / "config.json").read_text())["auto_map"]
    assert auto_map["AutoModelForImageClassification"] == "modeling_zen_image.ZenForActionTriplet"
    assert type(AutoModelForImageClassification.from_pretrained(tmp_path / "triplets")) is ZenForActionTriplet
    assert type(AutoModelForImageClassification.from_pretrained(folder)) is ZenForImageClassification


def test_a_state_dict_is_checked_too(model: ZenModel, config: ZenConfig) -> None:
    state = model.state_dict()
    assert isinstance(ZenModel.from_pretrained(None, config=config, state_dict=dict(state)), ZenModel)
    del state["norm.bias"]
    with pytest.raises(ValueError, match=r"the state dict does not hold exactly .* 1 missing: norm\.bias$"):
        ZenModel.from_pretrained(None, config=config, state_dict=state)


def test_another_config_is_a_shape_error(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"1 of another shape: embeddings\.summary_tokens is \(1, 2, 32\), not \(1, 5"):
        ZenModel.from_pretrained(folder, num_summary_tokens=5)


def test_a_misspelled_argument_is_refused(folder: Path) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'drop_pat_rate'"):
        ZenModel.from_pretrained(folder, drop_pat_rate=0.1)


def test_the_report_of_transformers_is_still_to_be_had(folder: Path) -> None:
    model, report = ZenModel.from_pretrained(folder, output_loading_info=True)
    assert isinstance(model, ZenModel)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]


def test_other_shapes_only_at_the_word_of_the_caller(folder: Path) -> None:
    edit_weights(folder, lambda w: w.update({"norm.bias": torch.zeros(31)}))
    _, report = ZenModel.from_pretrained(folder, ignore_mismatched_sizes=True, output_loading_info=True)
    assert [key for key, *_ in report["mismatched_keys"]] == ["norm.bias"]


class Undeclared(ZenPreTrainedModel):
    """A head on the encoder that says nothing about being new."""

    def __init__(self, config: ZenConfig) -> None:
        super().__init__(config)
        self.zen = ZenModel(config)
        self.classifier = nn.Linear(config.hidden_size, 3)
        self.post_init()


class Declared(Undeclared):
    _weights_that_may_be_new = ("classifier.",)


def test_only_a_declared_head_may_be_new(folder: Path, model: ZenModel) -> None:
    with pytest.raises(ValueError, match=r"of Undeclared: 2 missing: classifier\.bias, classifier\.weight$"):
        Undeclared.from_pretrained(folder)
    head, report = Declared.from_pretrained(folder, output_loading_info=True)
    assert report["missing_keys"] == {"classifier.bias", "classifier.weight"}
    assert torch.equal(head.zen.norm.weight, model.norm.weight)
    edit_weights(folder, lambda w: w.pop("norm.weight"))
    with pytest.raises(ValueError, match=r"of Declared: 1 missing: zen\.norm\.weight$"):
        Declared.from_pretrained(folder)


def test_initialisation_is_that_of_the_config() -> None:
    torch.manual_seed(0)
    model = ZenModel(ZenConfig(**{**TINY, "hidden_size": 64, "layerscale_value": 0.3, "initializer_range": 0.05}))
    layer: Any = model.layers[0]
    assert layer.mlp.up_proj.weight.std().item() == pytest.approx(0.05, rel=0.1)
    assert layer.mlp.up_proj.bias.abs().max() == 0
    assert torch.equal(layer.layer_scale1.scale, torch.full((64,), 0.3))
    assert torch.equal(layer.norm1.weight, torch.ones(64))
    assert not torch.equal(*model.embeddings.summary_tokens[0])


def test_the_pipeline_of_transformers(folder: Path, model: ZenModel) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8))
    processor = AutoImageProcessor.from_pretrained(folder)
    assert type(processor) is ZenImageProcessor
    expected = model(processor(image, return_tensors="pt").pixel_values)
    extract: Any = pipeline("image-feature-extraction", model=str(folder), device="cpu")
    assert type(extract.model) is ZenModel
    assert torch.equal(extract(image, return_tensors=True), expected.last_hidden_state)
    assert torch.equal(extract(image, pool=True, return_tensors=True), expected.pooler_output)


def test_the_pipeline_asks_no_question(folder: Path, model: ZenModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Transformers looks for a video processor as well; unregistered, it would offer to run the folder's code."""
    model.save_pretrained(folder)
    ZenImageProcessor().save_pretrained(folder)
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or "n")
    extract: Any = pipeline("image-feature-extraction", model=str(folder), device="cpu")
    assert type(extract.model) is ZenModel
    assert asked == []


def test_adapters_do_not_open_a_back_door(folder: Path, tmp_path: Path) -> None:
    """A folder with an adapter names the encoder below it; that one is loaded just as strictly."""
    peft = pytest.importorskip("peft")
    adapted = peft.get_peft_model(ZenModel.from_pretrained(folder), peft.LoraConfig(target_modules=["q_proj"]))
    adapted.save_pretrained(tmp_path / "adapter")
    assert isinstance(AutoModel.from_pretrained(tmp_path / "adapter"), ZenModel)
    edit_weights(folder, lambda w: w.pop("norm.weight"))
    with pytest.raises(ValueError, match=r"of ZenModel: 1 missing: norm\.weight$"):
        AutoModel.from_pretrained(tmp_path / "adapter")

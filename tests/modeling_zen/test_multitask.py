"""Several heads on one encoder: what each returns alone, from one pass."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from modeling_zen import (
    ZenForDepthEstimation,
    ZenForImageClassification,
    ZenForMaskedImageModeling,
    ZenForSemanticSegmentation,
    ZenForVideoClassification,
    ZenForVideoFrameClassification,
    ZenModel,
)
from modeling_zen.adapters import read_adapter
from modeling_zen.multitask import ZenMultiTask
from modeling_zen.peft_targets import adapter_config

peft = pytest.importorskip("peft")

# Heads, their fields, and whether they have an adapter.
TASKS: dict[str, tuple[Any, dict[str, Any], bool]] = {
    "phase": (ZenForVideoFrameClassification, {"num_labels": 4, "temporal_num_layers": 2}, False),
    "clip": (ZenForVideoClassification, {"num_labels": 3}, True),
    "tools": (ZenForImageClassification, {"num_labels": 5, "problem_type": "multi_label_classification"}, False),
    "segmentation": (ZenForSemanticSegmentation, {"num_labels": 3}, True),
    "depth": (ZenForDepthEstimation, {"max_depth": 50.0}, True),
}


def shake(model: nn.Module, *, but: str = "nothing") -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and not name.startswith(but):
                parameter.add_(0.1 * torch.randn_like(parameter))


@pytest.fixture(scope="module")
def folders(trunk_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A saved head or adapter per task; do not write into them."""
    root = tmp_path_factory.mktemp("tasks")
    with torch.random.fork_rng():
        torch.manual_seed(11)
        for name, (head_class, fields, adapted) in TASKS.items():
            model = head_class.from_pretrained(trunk_folder, **fields)
            if adapted:
                model = peft.get_peft_model(model, adapter_config("lora", model, r=2 + len(name) % 3))
            shake(model, but="zen.")
            model.save_pretrained(root / name)
    return {name: root / name for name in TASKS}


@pytest.fixture
def multitask(trunk_folder: Path, folders: dict[str, Path]) -> ZenMultiTask:
    return ZenMultiTask.from_pretrained(trunk_folder, folders)


def alone(name: str, folders: dict[str, Path], videos: torch.Tensor, **kwargs: Any) -> Any:
    head = TASKS[name][0].from_pretrained(folders[name])
    with torch.no_grad():
        return head(videos if head.main_input_name == "pixel_values_videos" else videos.flatten(0, 1), **kwargs)


def assert_same(given: Any, expected: Any) -> None:
    assert type(given) is type(expected)
    assert given.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert (given[name] - value).abs().max() <= 1e-5 * max(1.0, value.abs().max().item())
        else:
            assert len(given[name]) == len(value)


def trunk_rows(multitask: ZenMultiTask) -> list[int]:
    """Filled with the number of frames of each pass through the encoder."""
    rows: list[int] = []
    encoder = next(module for module in multitask.modules() if isinstance(module, ZenModel))
    encoder.register_forward_pre_hook(lambda module, inputs: rows.append(len(inputs[0])))
    return rows


@pytest.mark.parametrize(
    ("tasks", "passes"),
    [
        (None, 4),  # three adapters, and the rows that phase and tools share
        (["tools", "phase"], 1),
        (["depth"], 1),
        (["depth", "phase", "depth"], 2),
    ],
)
def test_each_task_is_as_alone_from_one_pass(
    tasks: list[str] | None, passes: int, multitask: ZenMultiTask, folders: dict[str, Path], pixels: torch.Tensor
) -> None:
    videos = torch.stack([pixels, pixels.flip(-1), pixels.flip(0)])
    rows = trunk_rows(multitask)
    with torch.no_grad():
        outputs = multitask(videos, tasks)
    assert list(outputs) == list(dict.fromkeys(tasks or TASKS))
    assert rows == [6 * passes]
    for name, output in outputs.items():
        assert_same(output, alone(name, folders, videos))


def test_frames_without_videos(multitask: ZenMultiTask, folders: dict[str, Path], pixels: torch.Tensor) -> None:
    with torch.no_grad():
        outputs = multitask(pixels, ["tools", "segmentation"], output_hidden_states=True)
    for name, output in outputs.items():
        expected = alone(name, folders, pixels[None], output_hidden_states=True)
        assert_same(output, expected)
        assert all(
            torch.allclose(own, right, atol=1e-5)
            for own, right in zip(output.hidden_states, expected.hidden_states, strict=True)
        )


def test_state_and_labels_of_tasks(multitask: ZenMultiTask, folders: dict[str, Path], pixels: torch.Tensor) -> None:
    videos = torch.stack([pixels, pixels.flip(0)], dim=1)[:1]
    labels = {"tools": torch.ones(2, 5), "depth": torch.full((2, 48, 80), 9.0)}
    with torch.no_grad():
        whole = multitask(videos, task_kwargs={name: {"labels": value} for name, value in labels.items()})
        state, logits = None, []
        for frame in videos.split(1, dim=1):
            outputs = multitask(frame, task_kwargs={"phase": {"temporal_state": state, "use_state": True}})
            state = outputs["phase"].temporal_state
            logits.append(outputs["phase"].logits)
    assert torch.allclose(torch.cat(logits, dim=1), whole["phase"].logits, atol=1e-5)
    for name, value in labels.items():
        expected = alone(name, folders, videos, labels=value).loss
        assert torch.allclose(whole[name].loss, expected, atol=1e-5)


def test_training_without_adapters(trunk_folder: Path, folders: dict[str, Path], pixels: torch.Tensor) -> None:
    """The gradients of the shared encoder are the sum of those of its tasks."""
    model = ZenMultiTask.from_pretrained(trunk_folder, {name: folders[name] for name in ("tools", "phase")}).eval()
    labels = {"tools": torch.ones(2, 5), "phase": torch.tensor([[0, 3]])}
    outputs = model(pixels[None], task_kwargs={name: {"labels": value} for name, value in labels.items()})
    sum(output.loss for output in outputs.values()).backward()
    heads = [TASKS[name][0].from_pretrained(folders[name]) for name in labels]
    for name, head in zip(labels, heads, strict=True):
        head(pixels[None] if name == "phase" else pixels, labels=labels[name]).loss.backward()
    shared: Any = model.trunk.zen
    for name, parameter in shared.named_parameters():
        expected = sum(head.get_parameter(f"zen.{name}").grad for head in heads)
        assert torch.allclose(parameter.grad, expected, atol=1e-4 * expected.abs().max().item() + 1e-7), name
    assert model.train().trunk.training


def test_an_encoder_with_adapters_is_frozen(multitask: ZenMultiTask, pixels: torch.Tensor) -> None:
    multitask.train()
    assert not multitask.trunk.training
    assert multitask.heads["depth"].training
    assert not any(parameter.requires_grad for parameter in multitask.trunk.parameters())
    multitask(pixels, ["depth"])["depth"].predicted_depth.mean().backward()
    assert all(parameter.grad is not None for parameter in multitask.heads["depth"].parameters())


@pytest.mark.parametrize("method", ["dora", "ia3", "oft"])
def test_only_lora_rides_along(method: str, trunk_folder: Path, tmp_path: Path) -> None:
    head = ZenForDepthEstimation.from_pretrained(trunk_folder)
    peft.get_peft_model(head, adapter_config(method, head)).save_pretrained(tmp_path)
    kind = {"dora": "DoRA", "ia3": "IA3", "oft": "OFT"}[method]
    with pytest.raises(ValueError, match=rf"^the adapter of task 'depth' is {kind}, but only plain LoRA without"):
        ZenMultiTask.from_pretrained(trunk_folder, {"depth": tmp_path})


def test_an_encoder_that_was_tuned_is_refused(trunk_folder: Path, tmp_path: Path) -> None:
    head = ZenForDepthEstimation.from_pretrained(trunk_folder)
    with torch.no_grad():
        head.zen.layers[1].norm1.bias += 1e-3
    head.save_pretrained(tmp_path)
    message = r"^the encoder of task 'depth' is not the shared one: 1 of \d+ weights differ, such as layers\.1\.norm1"
    with pytest.raises(ValueError, match=message):
        ZenMultiTask.from_pretrained(trunk_folder, {"depth": tmp_path})


def test_another_encoder_is_refused(folders: dict[str, Path], folder: Path) -> None:
    with pytest.raises(
        ValueError, match=r"depth holds the adapter of another model: num_hidden_layers is 4 there and 2"
    ):
        ZenMultiTask.from_pretrained(folder, {"depth": folders["depth"]})
    with pytest.raises(
        ValueError,
        match=r"^the encoder of task 'tools' is not the shared one: num_hidden_layers is 4 there and 2 here$",
    ):
        ZenMultiTask.from_pretrained(folder, {"tools": folders["tools"]})


def test_half_precision(trunk_folder: Path, folders: dict[str, Path], pixels: torch.Tensor, tmp_path: Path) -> None:
    """The head of an adapter goes along with the encoder; a saved head has its own encoder, which must be the same."""
    ZenModel.from_pretrained(trunk_folder).bfloat16().save_pretrained(tmp_path)
    model = ZenMultiTask.from_pretrained(tmp_path, {"segmentation": folders["segmentation"]})
    with torch.no_grad():
        logits = model(pixels)["segmentation"].logits
    assert logits.dtype == torch.bfloat16
    expected = alone("segmentation", folders, pixels[None]).logits
    assert (logits.float() - expected).abs().max() <= 0.05 * expected.abs().max()
    message = r"'tools' is not the shared one: it is torch\.float32 on cpu there and torch\.bfloat16 on cpu here$"
    with pytest.raises(ValueError, match=message):
        ZenMultiTask.from_pretrained(tmp_path, {"tools": folders["tools"]})


def test_a_head_is_loaded_whole(trunk_folder: Path, folders: dict[str, Path], tmp_path: Path) -> None:
    """No head of random numbers, which `from_pretrained` gives those who want to train it."""
    for name, file in (("tools", "model.safetensors"), ("depth", "adapter_model.safetensors")):
        shutil.copytree(folders[name], tmp_path / name)
        weights = load_file(tmp_path / name / file)
        gone = next(key for key in weights if key.endswith("classifier.bias"))
        save_file({**weights, gone: torch.zeros(7)}, tmp_path / name / file, metadata={"format": "pt"})
        with pytest.raises(ValueError, match=r"of another shape.* (?=.*classifier\.bias)(?=.*\(7,\))"):
            ZenMultiTask.from_pretrained(trunk_folder, {name: tmp_path / name})
        weights.pop(gone)
        save_file(weights, tmp_path / name / file, metadata={"format": "pt"})
        with pytest.raises(
            ValueError, match=rf"^{tmp_path / name} (lacks|does not hold exactly).* 1 .*classifier\.bias"
        ):
            ZenMultiTask.from_pretrained(trunk_folder, {name: tmp_path / name})


def test_what_is_given_stays_as_it_is(trunk_folder: Path, folders: dict[str, Path]) -> None:
    config, weights = read_adapter(folders["depth"])
    head = ZenForDepthEstimation.from_pretrained(trunk_folder, max_depth=50.0)
    whole = list(config.modules_to_save)
    ZenMultiTask(ZenModel.from_pretrained(trunk_folder), {"depth": head}, {"depth": (config, weights)})
    assert list(config.modules_to_save) == whole


def test_what_is_no_head(trunk_folder: Path, folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds a ZenModel, which is no head$"):
        ZenMultiTask.from_pretrained(trunk_folder, {"phase": trunk_folder})
    ZenForMaskedImageModeling.from_pretrained(trunk_folder).save_pretrained(tmp_path / "masked")
    with pytest.raises(ValueError, match=r"holds a ZenForMaskedImageModeling, which hides patches and cannot share a"):
        ZenMultiTask.from_pretrained(trunk_folder, {"phase": tmp_path / "masked"})
    with pytest.raises(FileNotFoundError, match=r"^no ZEN model in .*nowhere"):
        ZenMultiTask.from_pretrained(trunk_folder, {"phase": tmp_path / "nowhere"})
    with pytest.raises(
        ValueError, match=r"^ZenMultiTask\.from_pretrained has no argument 'revision'; it has cache_dir"
    ):
        ZenMultiTask.from_pretrained(trunk_folder, {"tools": folders["tools"]}, revision="main")
    with pytest.raises(ValueError, match=r"^a task cannot be called 'training'; letters"):
        ZenMultiTask.from_pretrained(trunk_folder, {"training": folders["tools"]})
    with pytest.raises(ValueError, match=r"^there is no task$"):
        ZenMultiTask.from_pretrained(trunk_folder, {})
    with pytest.raises(ValueError, match=r"^a task cannot be called 'a\.b'; letters, digits and underscores make a"):
        ZenMultiTask.from_pretrained(trunk_folder, {"a.b": folders["tools"]})
    encoder = ZenModel.from_pretrained(trunk_folder)
    head = ZenForDepthEstimation.from_pretrained(trunk_folder)
    with pytest.raises(ValueError, match=r"^the adapter of task 'depht' has no head; there are depth$"):
        ZenMultiTask(encoder, {"depth": head}, {"depht": (None, {})})
    adapted = ZenForDepthEstimation.from_pretrained(trunk_folder)
    peft.get_peft_model(adapted, adapter_config("lora", adapted)).save_pretrained(tmp_path / "bare")
    (tmp_path / "bare" / "head_config.json").unlink()
    with pytest.raises(ValueError, match=r"bare has no head_config\.json, so that the head of task 'depth' is not"):
        ZenMultiTask.from_pretrained(trunk_folder, {"depth": tmp_path / "bare"})


def test_wrong_calls(multitask: ZenMultiTask, pixels: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"^task 'dept' is not there; this model has phase, clip, tools, seg"):
        multitask(pixels, ["dept"])
    with pytest.raises(ValueError, match=r"^task 'steps' is not there"):
        multitask(pixels, ["depth"], task_kwargs={"steps": {}})
    with pytest.raises(ValueError, match=r"^no task is asked for; this model has phase"):
        multitask(pixels, [])
    with pytest.raises(ValueError, match=r"^task 'phase' reads videos, so that pixel_values must be \(batch, frames"):
        multitask(pixels)
    with pytest.raises(ValueError, match=r"^this head has given up its encoder to a ZenMultiTask; call that one$"):
        multitask.heads["depth"](pixels)
    with pytest.raises(ValueError, match=r"change height 47"):
        multitask(pixels[:, :, 1:], ["depth"])

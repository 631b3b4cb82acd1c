import json
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import timm
import torch
import transformers
from safetensors import safe_open
from torch import nn

from evaluation.backbones.backbone import FrameNetwork
from evaluation.backbones.zen import ZenNetwork
from evaluation.protocols import finetune, lora
from evaluation.protocols.end_to_end import FinetuneSettings
from evaluation.protocols.headed_network import HeadedNetwork
from evaluation.protocols.lora import LoraSettings
from evaluation.protocols.pixels import Pixels
from modeling_zen import ZenConfig, ZenModel
from modeling_zen.adapters import load_adapter
from training.errors import UserError
from training.teachers.preprocessing import Preprocessing

from .small_problem import SIZE, ConvolutionNetwork, PatchNetwork, make_problem, seeded

SHORT = FinetuneSettings(min_steps=20, max_steps=20, checks=2, head_lr=5e-3)
LORA = LoraSettings(rank=2, alpha=2, lr=5e-3)
ZEN: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "patch_size": 8,
}
CONVNEXT: dict[str, Any] = {"hidden_sizes": [8, 16, 32, 48], "depths": [1, 1, 2, 1]}
DINOV2: dict[str, Any] = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 16}


def zen_network(folder: Path) -> ZenNetwork:
    torch.manual_seed(5)
    ZenModel(ZenConfig(**ZEN)).save_pretrained(folder)
    preprocessing = Preprocessing((0.5,) * 3, (0.25,) * 3, 1.0, channel_order="rgb", interpolation="bilinear")
    return ZenNetwork("zen", ZenModel.from_pretrained(folder), preprocessing)


@pytest.mark.parametrize("network_class", [PatchNetwork, ConvolutionNetwork])
def test_only_adapters_and_head_change(
    network_class: type[FrameNetwork], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, answered = seeded(network_class), []
    monkeypatch.setattr(
        lora, "adapt", lambda *args, **kwargs: answered.append(finetune.adapt(*args, **kwargs)) or answered[0]
    )
    with Pixels(SIZE) as pixels:
        scores, chosen, details = lora.fit(
            network, make_problem(tmp_path, "single"), 0, pixels=pixels, settings=SHORT, lora=LORA
        )
    before, after = network.state_dict(), answered[0][3].network.state_dict()
    base = {name.replace(".base_layer", ""): weight for name, weight in after.items() if "lora_" not in name}
    assert base.keys() == before.keys()
    assert all(torch.equal(weight, before[name]) for name, weight in base.items())
    adapters = {name: weight for name, weight in after.items() if "lora_" in name}
    assert len(adapters) == 2 * details["adapted_layers"]
    assert all(weight.any() for weight in adapters.values())
    head = sum(weight.numel() for weight in answered[0][3].head.parameters())
    assert details["trainable_parameters"] == sum(weight.numel() for weight in adapters.values()) + head
    assert details["parameters"] == details["trainable_parameters"] + sum(p.numel() for p in network.parameters())
    assert scores.shape == (8, 3)
    assert chosen.chosen_on == "train folds by case"
    json.dumps(details)


def test_colors_are_learned_and_seeds_repeat(tmp_path: Path) -> None:
    problem = make_problem(tmp_path, "single")
    with Pixels(SIZE) as pixels:
        first, again = (
            lora.fit(seeded(PatchNetwork), problem, 0, pixels=pixels, settings=SHORT, lora=LORA)[0] for _ in range(2)
        )
    assert (first.argmax(axis=1) == problem.test.targets).all()
    assert np.array_equal(first, again)


def test_the_adapter_of_zen_is_a_folder_of_peft(tmp_path: Path) -> None:
    """ZEN from its folder, the adapter and the head from theirs: the scores of the run."""
    network, problem, folder = zen_network(tmp_path / "zen"), make_problem(tmp_path, "single"), tmp_path / "adapter"
    with Pixels(SIZE) as pixels:
        scores, _, details = lora.fit(
            network, problem, 0, pixels=pixels, settings=SHORT, lora=LORA, adapter_folder=folder
        )
        files = {"adapter_config.json", "adapter_model.safetensors", "head_config.json", "README.md", lora.HEAD_FILE}
        assert {file.name for file in folder.iterdir()} == files
        assert details["adapted_layers"] == 2 * 6
        assert details["adapter_sha256"] == lora.hash_adapter(folder)
        adapted = load_adapter(ZenModel.from_pretrained(tmp_path / "zen"), folder).merge_and_unload()
        loaded = HeadedNetwork(ZenNetwork("zen", adapted, network.preprocessing), 3)
        with safe_open(folder / lora.HEAD_FILE, framework="pt") as opened:
            facts = json.loads(opened.metadata()["head"])
            for name, module in zip(("norm", "linear"), loaded.head, strict=True):
                module.load_state_dict({part: opened.get_tensor(f"{name}.{part}") for part in ("weight", "bias")})
        assert np.allclose(loaded.answers(problem.test, pixels), scores, atol=1e-4)
    assert facts == {
        "target": "phase",
        "kind": "single",
        "classes": ["dissection", "clipping", "packaging"],
        "image_size": SIZE,
    }
    with Pixels(SIZE) as pixels:
        plain = HeadedNetwork(network, 3)
        plain.head.load_state_dict(loaded.head.state_dict())
        pixels.add(frame for frames in problem.test.frames for frame in frames)
        assert not np.allclose(plain.answers(problem.test, pixels), scores, atol=1e-2)  # the adapter does something


@pytest.mark.parametrize(
    ("model", "layer"),
    [
        (lambda: timm.create_model("efficientnet_lite0", num_classes=0), nn.Conv2d),
        (lambda: timm.create_model("vit_tiny_patch16_224", depth=2, num_classes=0, img_size=64), nn.Linear),
        (lambda: transformers.ConvNextModel(transformers.ConvNextConfig(**CONVNEXT)), nn.Linear),
        (lambda: transformers.Dinov2Model(transformers.Dinov2Config(**DINOV2)), nn.Linear),
    ],
    ids=["efficientnet_lite", "vit", "convnext", "dinov2"],
)
def test_layers_that_get_adapters(model: Any, layer: type[nn.Module]) -> None:
    """Every adapter gets a gradient: none sits in a layer that the network does not pass."""
    encoder = model()
    names = lora.adapted_layers(encoder)
    modules = dict(encoder.named_modules())
    assert len(names) >= 8
    assert all(isinstance(modules[name], layer) and getattr(modules[name], "groups", 1) == 1 for name in names)
    encoder.requires_grad_(False)
    peft.get_peft_model(encoder, lora.lora_config(encoder, LORA))
    assert sum(hasattr(module, "lora_A") for module in encoder.modules()) == len(names)
    output = encoder(torch.rand(2, 3, 64, 64))
    hidden = output if isinstance(output, torch.Tensor) else output.last_hidden_state
    (hidden * torch.rand_like(hidden)).sum().backward()
    adapters = {name: weight for name, weight in encoder.named_parameters() if "lora_B" in name}
    assert all(weight.grad is not None and weight.grad.any() for weight in adapters.values())


def test_attention_that_reads_its_weights_past_adapters_is_left_alone() -> None:
    assert lora.adapted_layers(nn.TransformerEncoderLayer(8, 2, 16)) == ["linear1", "linear2"]


def test_a_network_without_layers_to_adapt() -> None:
    with pytest.raises(
        UserError, match=r"^LoRA needs linear layers or convolutions without groups, and the Sequential has none; use"
    ):
        lora.adapted_layers(nn.Sequential(nn.Conv2d(3, 3, 3, groups=3), nn.ReLU()))


def test_settings_out_of_range() -> None:
    with pytest.raises(UserError, match=r"^lora needs rank >= 1, .* got 0, 16, 0\.0005 and 0$"):
        LoraSettings(rank=0)

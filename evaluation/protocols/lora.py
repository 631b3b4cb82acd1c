"""LoRA: the backbone stays frozen; low-rank adapters of PEFT in its layers and a linear head are trained."""

import copy
import json
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file
from torch import nn

from evaluation.backbones.backbone import FrameNetwork, sha256_of_weights
from evaluation.datasets.samples import Target
from evaluation.protocols.end_to_end import FinetuneSettings
from evaluation.protocols.finetune import adapt
from evaluation.protocols.headed_network import HeadedNetwork
from evaluation.protocols.pixels import Pixels
from evaluation.protocols.problem import Problem
from evaluation.protocols.selection import Chosen
from modeling_zen import ZenModel
from modeling_zen.peft_targets import adapter_config, import_peft
from training.errors import UserError

NAME = "lora"
WEIGHTS_FILE = "adapter_model.safetensors"  # as PEFT calls it
HEAD_FILE = "task_head.safetensors"  # beside the files of PEFT in an adapter folder


@dataclass(frozen=True)
class LoraSettings:
    """The adapters; how they are trained is said by `FinetuneSettings`, but for the learning rate."""

    rank: int = 16  # of the product that is added to each weight; that of ZEN's own preset
    alpha: float = 16  # the product counts alpha / rank; 1 keeps the learning rate free of the rank
    dropout: float = 0.0  # before each adapter; few numbers are trained, and the number of steps is chosen
    lr: float = 5e-4  # AdamW peak; adapters start at zero and bear ten times what whole weights do (arXiv 2106.09685)

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        if self.rank < 1 or self.alpha <= 0 or self.lr <= 0 or not 0 <= self.dropout < 1:
            raise UserError(
                f"lora needs rank >= 1, alpha > 0, lr > 0 and dropout in [0, 1), got {self.rank}, {self.alpha:g}, "
                f"{self.lr:g} and {self.dropout:g}"
            )


def fit(
    network: FrameNetwork,
    problem: Problem,
    seed: int,
    *,
    pixels: Pixels,
    settings: FinetuneSettings,
    lora: LoraSettings,
    adapter_folder: Path | None = None,
) -> tuple[np.ndarray, Chosen, dict[str, Any]]:
    """Train adapters on a frozen copy of `network` and a head, and let it answer.

    Args:
        network: as in `finetune.fit`.
        problem: as in `finetune.fit`.
        seed: as in `finetune.fit`.
        pixels: as in `finetune.fit`.
        settings: as in `finetune.fit`; `backbone_lr` is not read.
        lora: the adapters.
        adapter_folder: where to keep the adapter as a folder of PEFT for `network.model`, with the head beside it, see
            `save_adapter`; None keeps nothing.

    Returns:
        As `finetune.fit`; details also say how many layers are adapted, and the hash of an adapter that is kept.

    Raises:
        UserError: as `finetune.fit`, or a network without a layer that can be adapted.
    """
    peft = import_peft()  # not at the top: it takes seconds, which no other protocol should
    adapted: list[Any] = []  # the PEFT model inside of every network that was built

    def build() -> HeadedNetwork:
        copied = copy.deepcopy(network).float().requires_grad_(False)
        adapted.append(peft.get_peft_model(copied.model, lora_config(copied.model, lora)))
        return HeadedNetwork(copied, len(problem.target.classes))

    trained = replace(settings, backbone_lr=lora.lr)
    scores, chosen, details, model = adapt(network, build, problem, seed, pixels=pixels, settings=trained)
    if adapter_folder is not None:
        save_adapter(adapted[-1], model, problem.target, pixels.image_size, adapter_folder)
        details = {**details, "adapter_sha256": hash_adapter(adapter_folder)}
    layers = sum(hasattr(module, "lora_A") for module in model.network.modules())
    return scores, chosen, details | {"adapted_layers": layers, "lora": asdict(lora)}


def lora_config(model: nn.Module, settings: LoraSettings) -> Any:
    """The `peft.LoraConfig` for an encoder: ZEN's own preset, or the layers of `adapted_layers`."""
    if isinstance(model, ZenModel):
        fields = {"r": settings.rank, "lora_alpha": settings.alpha, "lora_dropout": settings.dropout}
        return adapter_config("lora", model, **fields)
    return import_peft().LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        # As a pattern for whole names: a name in a list also stands for every name that ends in it.
        target_modules="|".join(map(re.escape, adapted_layers(model))),
    )


def adapted_layers(model: nn.Module) -> list[str]:
    """Names of the layers of an encoder that get adapters.

    Linear layers where they hold most of the weights (transformers, ConvNeXt), and convolutions without groups too
    where they do not (EfficientNets, ResNets): a depthwise kernel has too few numbers for a low-rank product. Linear
    layers inside `torch.nn.MultiheadAttention` are left out, which reads their weights past any adapter.

    Raises:
        UserError: there is no such layer.
    """
    inside = {
        f"{name}.{child}"
        for name, module in model.named_modules()
        if isinstance(module, nn.MultiheadAttention)
        for child, _ in module.named_modules()
    }
    layers = {name: module for name, module in model.named_modules() if name not in inside}
    linear = [name for name, module in layers.items() if isinstance(module, nn.Linear)]
    plain = [name for name, module in layers.items() if isinstance(module, nn.Conv2d) and module.groups == 1]
    held = sum(layers[name].weight.numel() for name in linear)
    kernels = sum(module.weight.numel() for module in layers.values() if isinstance(module, nn.Conv2d))
    names = linear if held >= kernels else linear + plain
    if not names:
        raise UserError(
            f"LoRA needs linear layers or convolutions without groups, and the {type(model).__name__} has none; "
            "use full_finetune"
        )
    return names


def hash_adapter(folder: Path) -> str:
    """SHA-256 of the tensors of an adapter folder, those of the head included: what a record of it states."""
    adapter, head = load_file(folder / WEIGHTS_FILE), load_file(folder / HEAD_FILE)
    return sha256_of_weights({**adapter, **{f"head.{name}": weight for name, weight in head.items()}})


def save_adapter(adapted: Any, model: HeadedNetwork, target: Target, image_size: int, folder: Path) -> None:
    """Keep an adapter as PEFT does, and the head beside it.

    `modeling_zen.adapters.load_adapter(ZenModel.from_pretrained(...), folder)` puts it onto ZEN again,
    `peft.PeftModel.from_pretrained` onto any other encoder. The head is `task_head.safetensors`: `norm.*` and
    `linear.*` read the mean over frames of summary and mean dense token, side by side; `center` and `scale` bring
    values to their units.

    Args:
        adapted: the PEFT model around the encoder of `model`.
        model: what was trained.
        target: what the head says.
        image_size: pixels of the square frames it was trained on.
        folder: to write to; it is made where it is missing.
    """
    # "auto" would ask the Hub about the vocabulary of the base model.
    adapted.save_pretrained(folder, save_embedding_layers=False)
    norm, linear = model.head
    parts = {
        **{f"norm.{name}": weight for name, weight in norm.state_dict().items()},
        **{f"linear.{name}": weight for name, weight in linear.state_dict().items()},
        "center": model.center,
        "scale": model.scale,
    }
    facts = {"target": target.name, "kind": target.kind, "classes": target.classes, "image_size": image_size}
    tensors = {name: part.detach().cpu().contiguous() for name, part in parts.items()}
    save_file(tensors, folder / HEAD_FILE, metadata={"head": json.dumps(facts)})

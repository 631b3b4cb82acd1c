"""Protocols that look at frames themselves, by name: full fine-tuning, LoRA, and zero-shot by prompts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.backbones import NetworkBackbone
from evaluation.protocols import finetune, lora, zero_shot
from evaluation.protocols.end_to_end import FinetuneSettings
from evaluation.protocols.lora import LoraSettings
from evaluation.protocols.pixels import Pixels
from evaluation.protocols.problem import Problem
from evaluation.protocols.prompts import Prompts
from evaluation.protocols.selection import Chosen
from evaluation.protocols.text_aligned import TextAligned


@dataclass(frozen=True)
class Training:
    """What all of them share in a run.

    Attributes:
        pixels: frames, decoded once for all.
        adapters: folder in which adapters are kept, one for each fit; None keeps none.
        finetune: how networks are trained.
        lora: what adapters are like.
        readers: models with their text towers, by the name of the backbone.
    """

    pixels: Pixels
    adapters: Path | None = None
    finetune: FinetuneSettings = field(default_factory=FinetuneSettings)
    lora: LoraSettings = field(default_factory=LoraSettings)
    readers: Mapping[str, TextAligned] = field(default_factory=dict)


def trained_scores(
    protocol: str,
    backbone: NetworkBackbone,
    problem: Problem,
    prompts: Prompts | None,
    seed: int,
    training: Training,
    name: str,
) -> tuple[np.ndarray, Chosen, dict[str, Any]]:
    """Scores (N_test, C), what was chosen, and JSON-able details.

    Args:
        protocol: "full_finetune", "lora" or "zero_shot".
        backbone: left as it is.
        problem: what to learn.
        prompts: that name the classes; zero-shot needs them.
        seed: of everything random.
        training: see the class.
        name: of the fit, the folder of its adapter.
    """
    pixels, settings = training.pixels, training.finetune
    if protocol == finetune.NAME:
        return finetune.fit(backbone.network, problem, seed, pixels=pixels, settings=settings)
    if protocol == zero_shot.NAME:
        if prompts is None:
            raise ValueError("zero-shot needs prompts")
        return zero_shot.zero_shot_scores(training.readers[backbone.name], problem, prompts, pixels=pixels)
    folder = training.adapters / name if training.adapters else None
    return lora.fit(
        backbone.network, problem, seed, pixels=pixels, settings=settings, lora=training.lora, adapter_folder=folder
    )

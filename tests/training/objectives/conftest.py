"""Frames from which every strategy can learn within seconds: colored waves that repeat from patch to patch."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from modeling_zen import ZenConfig, ZenImageProcessor, ZenModel
from training.loader import ViewBatch
from training.objectives import Objective
from training.objectives.dino import DinoConfig, DinoObjective
from training.objectives.ijepa import IjepaConfig, IjepaObjective
from training.objectives.mae import MaeConfig, MaeObjective
from training.objectives.moco import MocoConfig, MocoObjective
from training.objectives.supervised import SupervisedConfig, SupervisedObjective
from training.views import Crops, all_valid

SIZE, PATCH = 32, 8
WAVES = torch.tensor([(1, 0), (0, 1), (1, 1), (1, -1), (2, 0), (0, 2), (2, 1), (1, 2)], dtype=torch.float32)


def waves(clips: Sequence[int], seed: int, crops: tuple[Crops, ...] = (), size: int = SIZE) -> ViewBatch:
    """One frame of each clip. A clip has a wave, which is its procedure, and a color; a view shifts and dims it."""
    generator = torch.Generator().manual_seed(seed)
    names, count = torch.tensor(clips), len(clips)
    colors = torch.stack([torch.rand(3, generator=torch.Generator().manual_seed(1000 + clip)) for clip in clips])
    kinds = names % len(WAVES)

    def view(side: int) -> Tensor:
        y, x = torch.meshgrid(torch.arange(side) / PATCH, torch.arange(side) / PATCH, indexing="ij")
        phase, light = torch.rand(2, count, 1, 1, generator=generator)
        turns = WAVES[kinds, 0, None, None] * x + WAVES[kinds, 1, None, None] * y + phase
        wave = 0.5 + 0.5 * torch.sin(2 * torch.pi * turns)
        return wave[:, None] * (0.4 + 0.6 * colors)[:, :, None, None] * (0.8 + 0.2 * light[:, None])

    images = view(size)
    further = tuple(torch.stack([view(wanted.size) for _ in range(wanted.count)], dim=1) for wanted in crops)
    numbers, zeros = 1000 * seed + torch.arange(count), torch.zeros(count, dtype=torch.int64)
    return ViewBatch(
        images, numbers, all_valid(count, size), names, zeros, kinds, shared=torch.arange(count), crops=further
    )


def build_strategy(name: str) -> Objective:
    """A strategy on a student of two layers; always the same weights."""
    torch.manual_seed(0)
    config = ZenConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        patch_size=PATCH,
        image_size=SIZE,
        layerscale_value=1.0,
        initializer_range=0.1,
        drop_path_rate=0.1,
    )
    student, processor = ZenModel(config).train(), ZenImageProcessor()
    mae, ijepa = MaeConfig(decoder_depth=1), IjepaConfig(predictor_depth=1, momentum=0.9)
    moco = MocoConfig(queue_size=64, key_width=32, head_width=64, momentum=0.9)
    dino = DinoConfig(local_crops=2, local_size=16, prototypes=256, head_width=128, bottleneck_width=32, momentum=0.98)
    makers: dict[str, Callable[[], Objective]] = {
        "mae": lambda: MaeObjective(student, processor, mae, SIZE),
        "ijepa": lambda: IjepaObjective(student, processor, ijepa, SIZE),
        "moco": lambda: MocoObjective(student, processor, moco, SIZE),
        "dino": lambda: DinoObjective(student, processor, dino, SIZE),
        "supervised": lambda: SupervisedObjective(student, processor, SupervisedConfig(), SIZE, len(WAVES)),
    }
    return makers[name]().train()


@pytest.fixture(scope="session")
def wave_batch() -> Callable[..., ViewBatch]:
    return waves


@pytest.fixture(scope="session")
def new_strategy() -> Callable[[str], Objective]:
    return build_strategy

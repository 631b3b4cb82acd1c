"""A tiny network and tiny images whose class is their color: what the tests of training through a backbone share."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from evaluation.backbones.backbone import FrameNetwork, Tokens
from evaluation.datasets import FrameReference
from evaluation.datasets.samples import Kind, Target
from evaluation.protocols.problem import Problem, Samples

SIZE = 16
COLORS = ((170, 60, 50), (120, 90, 60), (90, 60, 130))
TARGETS: dict[Kind, Target] = {
    "single": Target("phase", "single", ("dissection", "clipping", "packaging")),
    "multi": Target("tool", "multi", ("grasper", "hook")),
    "value": Target("skill", "value", ("score",)),
}


class PatchNetwork(FrameNetwork):
    """A patch embedding, a linear layer and its mean as summary."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(3, width, 4, 4), nn.Flatten(2), Turned(), nn.Linear(width, 4 * width))
        self.widths = (4 * width, 4 * width)

    def forward(self, pixels: Tensor) -> Tokens:
        tokens = self.model((pixels - 0.4) / 0.2)  # (B, cells, width)
        side = pixels.shape[-1] // 4
        return Tokens(tokens.mean(dim=1), tokens.transpose(1, 2).unflatten(2, (side, side)))


class Turned(nn.Module):
    """(B, width, cells) -> (B, cells, width)."""

    def forward(self, rows: Tensor) -> Tensor:
        return rows.transpose(1, 2)


class ConvolutionNetwork(FrameNetwork):
    """Pointwise and depthwise convolutions with batch norms, and no summary: the shape of an EfficientNet-Lite."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Conv2d(3, 8, 3, 4, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU6(),
            nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False),
            nn.BatchNorm2d(8),
            nn.Conv2d(8, 12, 1),
        )
        self.widths = (0, 12)

    def forward(self, pixels: Tensor) -> Tokens:
        dense = self.model(pixels)
        return Tokens(dense.new_zeros(len(dense), 0), dense)


def seeded(network: type[FrameNetwork]) -> FrameNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return network()


def make_problem(folder: Path, kind: Kind, *, cases: int = 5, frames: int = 1, with_val: bool = False) -> Problem:
    """Four samples a case, their classes in turn; a color tells the class, more noise in later cases.

    Two more cases are the test side, and the last training case is the validation side where it is asked for.
    """
    rng = np.random.default_rng(0)
    sides: dict[str, list[tuple[tuple[FrameReference, ...], str, int]]] = {"train": [], "val": [], "test": []}
    for case in range(cases + 2):
        side = "test" if case >= cases else "val" if with_val and case == cases - 1 else "train"
        for number in range(4):
            label = (case + number) % 3
            files = [folder / f"{case}_{number}_{frame}.png" for frame in range(frames)]
            for file in files:
                pixels = np.array(COLORS[label]) + rng.normal(0, 15, (SIZE, SIZE, 3))
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file)
            sides[side].append((tuple(FrameReference(file) for file in files), f"case{case}", label))
    return Problem(TARGETS[kind], *(_samples(rows, kind) for rows in sides.values()))


def _samples(rows: list[tuple[tuple[FrameReference, ...], str, int]], kind: Kind) -> Samples:
    labels = np.array([label for _, _, label in rows], np.int64)
    targets = {
        "single": labels,
        "multi": np.stack([labels != 1, labels == 2], axis=1).reshape(len(rows), 2),
        "value": (100 + 10 * labels[:, None]).astype(np.float32),
    }[kind]
    cases = tuple(case for _, case, _ in rows)
    return Samples(tuple(frames for frames, _, _ in rows), cases, cases, np.zeros(len(rows)), targets)

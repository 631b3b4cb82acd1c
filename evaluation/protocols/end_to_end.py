"""The loop that trains a headed network through: settings, steps, augmented batches, the schedule."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW

from evaluation.datasets.samples import Target
from evaluation.protocols.augmentation import AugmentationSettings, augment
from evaluation.protocols.criterion import columns
from evaluation.protocols.headed_network import HeadedNetwork
from evaluation.protocols.losses import loss_of
from evaluation.protocols.pixels import Pixels
from evaluation.protocols.problem import Samples
from training.errors import UserError
from training.optimization import OptimizerConfig, learning_rate


@dataclass(frozen=True)
class FinetuneSettings:
    """How a network is trained through. Steps follow the number of training samples, between two limits."""

    backbone_lr: float = 5e-5  # AdamW peak; pretrained weights want small steps (1e-5 to 1e-4 are usual for ViTs)
    head_lr: float = 1e-3  # AdamW peak of the head, which starts from nothing
    weight_decay: float = 0.05  # on matrices and kernels; the usual one of fine-tuned ViTs
    warmup_fraction: float = 0.1  # share of the steps with rising lr, before half a cosine down to 0
    clip_norm: float = 1.0  # global gradient norm, as in pretraining
    frames_per_step: int = 32  # over all samples of a step; few enough for long backward passes on small GPUs
    frames_per_sample: int = 8  # most frames of a clip or video that one step sees; TSN uses 3 to 8
    epochs: float = 10  # passes over the training samples ...
    min_steps: int = 50  # ... but at least so many steps, as few-shot problems have few samples
    max_steps: int = 3000  # ... and at most so many, as neighboring frames of long videos say the same
    checks: int = 5  # times, evenly spaced, that held-out samples are scored to choose the number of steps
    checked_samples: int = 2000  # most held-out samples scored in a check, evenly spaced
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        for name in ("frames_per_step", "frames_per_sample", "min_steps", "checks", "checked_samples"):
            if getattr(self, name) < 1:
                raise UserError(f"finetune.{name} must be at least 1, got {getattr(self, name)}")
        if self.max_steps < self.min_steps:
            raise UserError(f"finetune.max_steps is {self.max_steps}, below finetune.min_steps, {self.min_steps}")
        for name in ("backbone_lr", "head_lr", "epochs", "clip_norm"):
            if getattr(self, name) <= 0:
                raise UserError(f"finetune.{name} must be above 0, got {getattr(self, name)}")


def planned_steps(samples: Samples, settings: FinetuneSettings) -> int:
    """Steps of a run on training samples: `epochs` passes, within the limits."""
    steps = math.ceil(settings.epochs * len(samples) / samples_per_step(samples, settings))
    return min(max(steps, settings.min_steps), settings.max_steps)


def samples_per_step(samples: Samples, settings: FinetuneSettings) -> int:
    """Samples whose frames fill a step, at least one and no more than there are."""
    seen = min(max(len(frames) for frames in samples.frames), settings.frames_per_sample)
    return min(max(1, settings.frames_per_step // seen), len(samples))


def drawn_frames(count: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """Which of a sample's frames a step sees, int64: all, or one drawn from each of `most` equal parts.

    Source: Wang et al., Temporal Segment Networks (arXiv 1608.00859), section 3.1.
    """
    if count <= most:
        return np.arange(count)
    edges = np.arange(most + 1) * count // most
    return rng.integers(edges[:-1], edges[1:])


def train(
    model: HeadedNetwork,
    target: Target,
    samples: Samples,
    pixels: Pixels,
    settings: FinetuneSettings,
    *,
    steps: int,
    seed: int,
) -> Iterator[int]:
    """Train the trainable parameters; a caller that wants fewer steps than the schedule has stops asking.

    Args:
        model: changed in place, and in training mode in every step.
        target: of the samples; its kind decides on the loss, see `losses.loss_of`.
        samples: to train on; their frames are in `pixels`.
        pixels: frames.
        settings: how.
        steps: length of the schedule.
        seed: of the order of samples and of the augmentation. Dropout draws from torch's random state.

    Yields:
        Steps done, from 1 to `steps`.

    Raises:
        UserError: a loss that is not finite.
    """
    wanted = torch.from_numpy(columns(target, samples.targets))
    if target.kind == "value":
        wanted = model.take_units(wanted)
    loss_function = loss_of(target.kind, wanted.to(model.device))
    schedule = OptimizerConfig(lr=1.0, warmup_fraction=settings.warmup_fraction, final_lr=0.0, scale_lr=False)
    optimizer = _optimizer(model, settings)
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    batches = _batches(samples, pixels, settings, seed, model.device)
    for step, (frames, places, rows) in enumerate(itertools.islice(batches, steps)):
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * learning_rate(step, schedule, steps, 1)
        model.train()
        outputs = model(frames, places)
        loss = loss_function(outputs, wanted[rows].to(model.device))
        if not bool(loss.isfinite()):
            raise UserError(
                f"the loss of step {step + 1} of {steps} of fine-tuning is not finite; lower finetune.backbone_lr "
                f"({settings.backbone_lr:g}) or finetune.head_lr ({settings.head_lr:g})"
            )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, settings.clip_norm)
        optimizer.step()
        yield step + 1


def _optimizer(model: HeadedNetwork, settings: FinetuneSettings) -> AdamW:
    """AdamW with a learning rate for the network and one for the head; weight decay on matrices and kernels only."""
    groups = []
    for module, peak in ((model.network, settings.backbone_lr), (model.head, settings.head_lr)):
        for decayed in (True, False):
            own = [p for p in module.parameters() if p.requires_grad and (p.ndim >= 2) == decayed]
            decay = settings.weight_decay if decayed else 0.0
            groups.append({"params": own, "peak": peak, "weight_decay": decay})
    return AdamW([group for group in groups if group["params"]], lr=settings.head_lr, fused=True)


def _batches(
    samples: Samples, pixels: Pixels, settings: FinetuneSettings, seed: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor, list[int]]]:
    """Endless batches on a device: frames (F, 3, H, W), the place in the batch of each frame's sample (F,), B rows."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    endless = itertools.chain.from_iterable(rng.permutation(len(samples)) for _ in itertools.count())
    size = samples_per_step(samples, settings)
    while True:
        rows = [int(row) for row in itertools.islice(endless, size)]
        seen = [drawn_frames(len(samples.frames[row]), settings.frames_per_sample, rng) for row in rows]
        flat = [samples.frames[row][index] for row, indices in zip(rows, seen, strict=True) for index in indices]
        places = torch.arange(len(rows)).repeat_interleave(torch.tensor([len(indices) for indices in seen])).to(device)
        frames = torch.from_numpy(pixels.read(flat)).to(device).permute(0, 3, 1, 2).float() / 255
        yield augment(frames, places, settings.augmentation, generator), places, rows

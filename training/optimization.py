"""AdamW with two groups, and a learning rate that is a pure function of the step."""

import math
from dataclasses import dataclass

from torch import nn
from torch.optim import AdamW, Optimizer

from training.errors import UserError


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with linear warm-up and cosine decay; defaults as in UNIC and DUNE, which train students from scratch."""

    lr: float = 3e-4  # at 256 frames per step; scaled linearly with the frames per step
    betas: tuple[float, float] = (0.9, 0.99)  # the shorter second moment follows changing views faster
    weight_decay: float = 0.03  # on matrices only: not on norms, biases, tokens, LayerScale
    warmup_fraction: float = 0.1  # share of schedule_steps with linearly rising lr
    final_lr: float = 1e-6  # where the cosine ends
    schedule_steps: int | None = None  # length of the schedule; null means max_steps
    clip_norm: float = 1.0  # global gradient norm; 0 switches clipping off
    scale_lr: bool = True  # multiply lr by frames per step / 256
    # Factor on lr from one layer of the student to the one below; below 1 spares weights that were loaded (0.65 to 0.9
    # are usual then), 1 treats all alike.
    layer_decay: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        if self.lr <= 0 or self.final_lr < 0:
            raise UserError(f"optimizer.lr must be > 0 and final_lr >= 0, got {self.lr} and {self.final_lr}")
        if not 0 <= self.warmup_fraction < 1:
            raise UserError(f"optimizer.warmup_fraction must lie in [0, 1), got {self.warmup_fraction}")
        if not 0 < self.layer_decay <= 1:
            raise UserError(f"optimizer.layer_decay must lie in (0, 1], got {self.layer_decay}")


def build_optimizer(model: nn.Module, config: OptimizerConfig, num_layers: int = 0) -> Optimizer:
    """AdamW over the trainable parameters; weight decay only on matrices and kernels, not on tokens.

    Args:
        model: the student, or an objective with it as `student`.
        config: settings.
        num_layers: of the student, for `layer_decay`. Its embeddings lie below its first layer; its final norm, and
            everything outside of the student, keep the full learning rate.

    Returns:
        Each group has a `scale`, by which `learning_rate` is to be multiplied.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_token = name.endswith(("_token", "_tokens"))
            scale = config.layer_decay ** _layers_above(name, num_layers)
            groups.setdefault((scale, parameter.ndim >= 2 and not is_token), []).append(parameter)
    decays = {True: config.weight_decay, False: 0.0}
    settings = [
        {"params": parameters, "weight_decay": decays[decayed], "scale": scale}
        for (scale, decayed), parameters in sorted(groups.items(), key=lambda item: item[0], reverse=True)
    ]
    # Fused: on a CPU the plain update of a small model costs as much as its forward and backward pass.
    return AdamW(settings, lr=config.lr, betas=config.betas, fused=True)


def _layers_above(name: str, num_layers: int) -> int:
    """Steps of `layer_decay` for a parameter: 0 above the last layer, `num_layers` for the embeddings."""
    parts = name.removeprefix("student.").split(".")
    if parts[0] == "embeddings":
        return num_layers
    return num_layers - 1 - int(parts[1]) if parts[0] == "layers" and num_layers else 0


def learning_rate(step: int, config: OptimizerConfig, schedule_steps: int, frames_per_step: int) -> float:
    """Learning rate of the 0-based `step`: linear warm-up, then half a cosine down to `final_lr`."""
    peak = config.lr * (frames_per_step / 256 if config.scale_lr else 1.0)
    warmup = max(1, round(config.warmup_fraction * schedule_steps))
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, schedule_steps - warmup))
    floor = min(config.final_lr, peak)
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * progress))

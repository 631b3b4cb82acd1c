"""A network that follows the student as a moving average: the teacher of DINO, the target of I-JEPA, MoCo's keys."""

import copy
import math
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MomentumCopy(nn.Module):
    """θ̄ ← m·θ̄ + (1 - m)·θ. It begins as a copy, is never trained and never in training mode: no layer is dropped.

    Its weights are in the state dict of whatever holds it, so that a resumed run finds them.

    Args:
        source: what it copies and follows.

    Source: the mean teacher, arXiv 1703.01780, equation 1.
    """

    def __init__(self, source: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(source).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "MomentumCopy":
        """Stay in evaluation mode, whatever is asked."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        """What the copy answers, without gradients."""
        return self.network(*arguments, **keywords)

    @torch.no_grad()
    def follow(self, source: nn.Module, momentum: float) -> None:
        """Move towards the source; a momentum of 1 stays."""
        average = get_ema_multi_avg_fn(momentum)
        average(list(self.network.parameters()), list(source.parameters()), torch.tensor(0))


def momentum_at(step: int, steps: int, start: float) -> float:
    """Momentum at the 1-based `step` of `steps`: half a cosine from `start` to 1, so that the copy comes to rest.

    A pure function of the step: there is nothing to save.

    Source: BYOL, arXiv 2006.07733, section 3.2; so do DINO and MoCo v3.
    """
    return 1 - (1 - start) * (math.cos(math.pi * min(step, steps) / steps) + 1) / 2

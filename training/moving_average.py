"""A moving average of the student's weights, which is often a better model than the last weights are."""

from typing import cast

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from modeling_zen import ZenModel


class MovingAverage:
    """θ̄ ← d·θ̄ + (1 - d)·θ after every step; begins at the student's first weights.

    Attributes:
        student: the averaged model, an ordinary ZenModel.

    Source: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging" (1992).
    """

    def __init__(self, student: ZenModel, decay: float) -> None:
        self._averaged = AveragedModel(student, multi_avg_fn=get_ema_multi_avg_fn(decay))
        self._averaged.requires_grad_(False)
        self._averaged.n_averaged.fill_(1)  # else the first update would copy the student
        self.student = cast(ZenModel, self._averaged.module)

    def update(self, student: nn.Module) -> None:
        """Move towards the student."""
        self._averaged.update_parameters(student)

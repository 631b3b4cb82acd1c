"""Heads of DINO and iBOT: cosines of tokens with learned prototypes, and the teacher's distribution over them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.distributed import sum_of_processes
from training.objectives.momentum_copy import MomentumCopy


class PrototypeHead(nn.Module):
    """MLP of three layers, length 1, cosines with prototypes: `(..., width) -> (..., prototypes)`, in float32.

    Source: the projection head of DINO, arXiv 2104.14294, appendix C, without its batch norms.
    """

    def __init__(self, width: int, hidden_width: int, bottleneck_width: int, prototypes: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden_width),
            nn.GELU(),
            nn.Linear(hidden_width, hidden_width),
            nn.GELU(),
            nn.Linear(hidden_width, bottleneck_width),
        )
        self.prototypes = nn.Parameter(torch.randn(prototypes, bottleneck_width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits from -1 to 1; the computation leaves autocast, because a temperature enlarges its errors."""
        with torch.autocast(tokens.device.type, enabled=False):
            return F.linear(F.normalize(self.mlp(tokens.float()), dim=-1), F.normalize(self.prototypes, dim=-1))


class CenteredSoftmax(nn.Module):
    """The teacher's distribution over prototypes, softmax((y - c) / τ).

    The center c, a moving average of the teacher's logits, keeps one prototype from winning everywhere, the low
    temperature τ keeps all from winning alike: the two balance each other and prevent collapse. Unlike the
    Sinkhorn-Knopp iterations of DINOv2, which divide a batch evenly among prototypes, it does not depend on the batch
    having many more images than there are prototypes.

    Args:
        prototypes: K.
        temperature: τ.
        momentum: share of the old center at every update.

    Source: DINO, arXiv 2104.14294, section 3.1, equation 4.
    """

    def __init__(self, prototypes: int, temperature: float, momentum: float) -> None:
        super().__init__()
        self.center = nn.Buffer(torch.zeros(prototypes))
        self._temperature, self._momentum = temperature, momentum

    def forward(self, logits: Tensor) -> Tensor:
        """`(N, K)` to probabilities, float32 `(N, K)`."""
        return ((logits.float() - self.center) / self._temperature).softmax(dim=-1)

    @torch.no_grad()
    def update(self, logits: Tensor) -> None:
        """Center: c ← m·c + (1 - m)·mean of `logits` `(N, K)` over all processes; stays where there are none."""
        total = sum_of_processes(torch.cat([logits.float().sum(dim=0), logits.new_tensor([len(logits)]).float()]))
        mean = total[:-1] / total[-1].clamp(min=1)
        self.center.copy_(torch.where(total[-1] > 0, torch.lerp(mean, self.center, self._momentum), self.center))


class PrototypeBranch(nn.Module):
    """One kind of token: the student's head, its moving average, and the teacher's distribution."""

    def __init__(self, head: PrototypeHead, softmax: CenteredSoftmax) -> None:
        super().__init__()
        self.head, self.teacher_head, self.softmax = head, MomentumCopy(head), softmax

    def follow(self, momentum: float) -> None:
        """Move the teacher's head towards the student's."""
        self.teacher_head.follow(self.head, momentum)

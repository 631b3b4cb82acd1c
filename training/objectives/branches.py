"""One teacher's summary or dense tokens: normaliser, head, loss, and what a constant prediction would score."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.diagnostics import Agreement
from training.losses.angle import angle, angle_between, best_constant_direction
from training.losses.mse import mse
from training.objectives.grids import resample_tokens
from training.objectives.heads import ProjectorHead
from training.teachers.normalizer import FeatureNormalizer


class SummaryBranch(nn.Module):
    """Angle loss on a teacher's summary vector, divided by how widely that teacher's summaries spread.

    Args:
        student_width: width of the student's summary token.
        teacher_width: width of the teacher's summary vector.
        hidden_width: hidden width of the projector head.
        mode: normaliser mode (`none`, `center`, `standardize`, `phi_s`).
    """

    def __init__(self, student_width: int, teacher_width: int, hidden_width: int, mode: str) -> None:
        super().__init__()
        self.head = ProjectorHead(student_width, teacher_width, hidden_width)
        self.normalizer = FeatureNormalizer(teacher_width, mode)
        self.register_buffer("direction", torch.zeros(teacher_width))
        self.register_buffer("dispersion", torch.zeros(()))
        self.direction: Tensor
        self.dispersion: Tensor

    def freeze(self, summaries: Tensor) -> None:
        """End calibration: fix the normaliser, then how far the summaries `(N, D)` spread around their axis."""
        self.normalizer.freeze()
        targets = self.normalizer(summaries)
        self.direction.copy_(best_constant_direction(targets))
        self.dispersion.copy_(angle_between(targets, self.direction.expand_as(targets)).square().mean())

    def forward(self, summary: Tensor, target: Tensor) -> Agreement:
        """Compare the student's summary `(B, Ws)` with the teacher's `(B, Wt)`."""
        prediction = self.head(summary)
        target = self.normalizer(target)
        loss = angle(prediction, target, dispersion=self.dispersion)
        with torch.no_grad():
            constant = angle_between(self.direction.expand_as(target), target).square()
            center = self.normalizer.center()
            cosine = F.cosine_similarity(prediction - center, target - center, dim=-1)
            error = angle_between(prediction, target).square()
        return Agreement(loss=loss, cosine=cosine, error=error, constant_error=constant)


class DenseBranch(nn.Module):
    """Mean squared error on a teacher's normalised dense tokens, on the teacher's own grid. Arguments as above."""

    def __init__(self, student_width: int, teacher_width: int, hidden_width: int, mode: str) -> None:
        super().__init__()
        self.head = ProjectorHead(student_width, teacher_width, hidden_width)
        self.normalizer = FeatureNormalizer(teacher_width, mode)

    def freeze(self) -> None:
        """End calibration: fix the normaliser."""
        self.normalizer.freeze()

    def forward(self, dense: Tensor, target: Tensor) -> Agreement:
        """Compare the student's dense tokens `(B, Ws, h, w)` with the teacher's `(B, Wt, H, W)`."""
        grid, target_grid = (dense.shape[-2], dense.shape[-1]), (target.shape[-2], target.shape[-1])
        # (B, D, h, w) -> (B, h*w, D)
        prediction = resample_tokens(self.head(dense.flatten(2).transpose(1, 2)), grid, target_grid)
        targets = self.normalizer(target.flatten(2).transpose(1, 2))
        loss = mse(prediction, targets)
        with torch.no_grad():
            center = self.normalizer.center()
            cosine = F.cosine_similarity(prediction - center, targets - center, dim=-1).mean(dim=1)
            constant = mse(center.expand_as(targets), targets)
            error = loss.detach()
        return Agreement(loss=loss, cosine=cosine, error=error, constant_error=constant)

"""One teacher's summary or dense tokens: normaliser, head, loss, and what a constant prediction would score."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.diagnostics.agreement import Agreement
from training.distributed import gather
from training.losses import DENSE_LOSSES, TOKEN_LOSSES, mse, shift_equivariant_mse
from training.losses.angle import angle, angle_between, best_constant_direction
from training.losses.shift_equivariant import Shift
from training.objectives.grids import resample_tokens
from training.objectives.heads import ProjectorHead
from training.teachers.normalizer import FeatureNormalizer


@dataclass(frozen=True)
class Compared:
    """A batch of one teacher's tokens beside the student's, on one grid and in the normalised space.

    Attributes:
        agreement: the loss and what it is to be read against.
        prediction: `(B, D)` or `(B, H*W, D)`.
        target: of the same shape.
    """

    agreement: Agreement
    prediction: Tensor
    target: Tensor


class Branch(nn.Module, ABC):
    """What the student predicts for one teacher and one kind of token.

    Args:
        student_width: width of the student's tokens.
        teacher_width: width of the teacher's tokens.
        hidden_width: hidden width of the projector head.
        mode: normaliser mode (`none`, `center`, `standardize`, `phi_s`).
        loss: name of the loss, one of `SUMMARY_LOSSES` or `DENSE_LOSSES`.
    """

    def __init__(self, student_width: int, teacher_width: int, hidden_width: int, mode: str, loss: str) -> None:
        super().__init__()
        self.loss = loss
        self.head = ProjectorHead(student_width, teacher_width, hidden_width)
        self.normalizer = FeatureNormalizer(teacher_width, mode)

    @abstractmethod
    def observe(self, target: Tensor, valid_mask: Tensor | None = None) -> None:
        """Calibrate on a batch of the teacher's tokens; `valid_mask` as for `forward`."""

    @abstractmethod
    def freeze(self) -> None:
        """End calibration."""

    @abstractmethod
    def forward(self, tokens: Tensor, target: Tensor, valid_mask: Tensor | None = None) -> Compared:
        """Compare the student's tokens with the teacher's.

        Args:
            tokens: of the student.
            target: of the teacher.
            valid_mask: bool `(B, H*W)` on the teacher's grid, row by row; `None` when every token counts.
        """


class SummaryBranch(Branch):
    """A loss on summary vectors `(B, D)`; `angle` is divided by how widely the teacher's summaries spread."""

    def __init__(self, student_width: int, teacher_width: int, hidden_width: int, mode: str, loss: str) -> None:
        super().__init__(student_width, teacher_width, hidden_width, mode, loss)
        self.direction = nn.Buffer(torch.zeros(teacher_width))
        self.dispersion = nn.Buffer(torch.zeros(()))
        self._observed: list[Tensor] = []

    def observe(self, target: Tensor, valid_mask: Tensor | None = None) -> None:
        """Count summaries `(B, D)` and keep them: `freeze` needs them in the finished normaliser's space."""
        if valid_mask is not None:
            target = target[valid_mask.any(dim=1)]
        self.normalizer.update(target)
        self._observed.append(target)

    def freeze(self) -> None:
        """Fix the normaliser, the best constant direction and the dispersion around it."""
        self.normalizer.merge_processes()
        self.normalizer.freeze()
        observed = [part.to(self.direction.device) for part in gather(torch.cat(self._observed).cpu())]
        targets = self.normalizer(torch.cat(observed))
        self.direction.copy_(best_constant_direction(targets))
        self.dispersion.copy_(angle_between(targets, self.direction.expand_as(targets)).square().mean())
        self._observed = []

    def forward(self, tokens: Tensor, target: Tensor, valid_mask: Tensor | None = None) -> Compared:
        """Compare the student's summary `(B, Ws)` with the teacher's `(B, Wt)`.

        Student and teacher see the same pixels, valid or not, so a summary counts unless its view has no valid token.
        """
        prediction = self.head(tokens)
        target = self.normalizer(target)
        counted = None if valid_mask is None else valid_mask.any(dim=1)  # (B, H*W) -> (B,)
        loss = self._loss(prediction, target, counted)
        with torch.no_grad():
            fixed = self.direction if self.loss == "angle" else self.normalizer.center()
            constant_loss = self._loss(fixed.expand_as(target), target, counted)
            constant = angle_between(self.direction.expand_as(target), target).square()
            center = self.normalizer.center()
            cosine = F.cosine_similarity(prediction - center, target - center, dim=-1)
            error = angle_between(prediction, target).square()
            if counted is not None:
                constant, cosine, error = (part.masked_fill(~counted, 0) for part in (constant, cosine, error))
        return Compared(Agreement(loss, constant_loss, cosine, error, constant, counted), prediction, target)

    def _loss(self, prediction: Tensor, target: Tensor, counted: Tensor | None) -> Tensor:
        if self.loss == "angle":
            return angle(prediction, target, counted, dispersion=self.dispersion)
        mask = None if counted is None else counted[:, None]
        return TOKEN_LOSSES[self.loss](prediction[:, None], target[:, None], mask)  # a summary is one token


class DenseBranch(Branch):
    """A loss on normalised dense tokens, on the teacher's own grid."""

    def observe(self, target: Tensor, valid_mask: Tensor | None = None) -> None:
        """Count dense tokens `(B, D, H, W)`."""
        # (B, D, H, W) -> (B, H*W, D)
        self.normalizer.update(target.flatten(2).transpose(1, 2), valid_mask)

    def freeze(self) -> None:
        """Fix the normaliser."""
        self.normalizer.merge_processes()
        self.normalizer.freeze()

    def forward(
        self,
        tokens: Tensor,
        target: Tensor,
        valid_mask: Tensor | None = None,
        shifts: tuple[Shift, Shift] | None = None,
    ) -> Compared:
        """Compare the student's dense tokens `(B, Ws, h, w)` with the teacher's `(B, Wt, H, W)`.

        `shifts`, of the student's and the teacher's input in cells, ask for the shift-equivariant loss.
        """
        grid, target_grid = (tokens.shape[-2], tokens.shape[-1]), (target.shape[-2], target.shape[-1])
        # (B, D, h, w) -> (B, h*w, D)
        prediction = tokens.flatten(2).transpose(1, 2)
        # The head is the costly part: it runs on the grid with fewer cells.
        if math.prod(target_grid) < math.prod(grid):
            prediction = self.head(resample_tokens(prediction, grid, target_grid))
        else:
            prediction = resample_tokens(self.head(prediction), grid, target_grid)
        targets = self.normalizer(target.flatten(2).transpose(1, 2))

        def squared(values: Tensor) -> Tensor:
            if shifts is None:
                return mse(values, targets, valid_mask)
            student, teacher = shifts
            return shift_equivariant_mse(
                values, targets, valid_mask, grid=target_grid, student_shift=student, teacher_shift=teacher
            )

        error = squared(prediction)
        with torch.no_grad():
            center = self.normalizer.center()
            cosines = F.cosine_similarity(prediction - center, targets - center, dim=-1)  # (B, H*W)
            if valid_mask is None:
                counted, cosine = None, cosines.mean(dim=1)
            else:
                counted = valid_mask.any(dim=1)
                cosine = cosines.masked_fill(~valid_mask, 0).sum(dim=1) / valid_mask.sum(dim=1).clamp(min=1)
            constant = squared(center.expand_as(targets))
        loss, constant_loss = error, constant
        if self.loss != "mse":
            compare = DENSE_LOSSES[self.loss]
            loss = compare(prediction, targets, valid_mask)
            with torch.no_grad():
                constant_loss = compare(center.expand_as(targets), targets, valid_mask)
        return Compared(Agreement(loss, constant_loss, cosine, error.detach(), constant, counted), prediction, targets)

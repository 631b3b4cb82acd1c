"""One teacher's summary or dense tokens: normaliser, head, loss, and what a constant prediction would score."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.diagnostics.agreement import Agreement
from training.distributed import gather
from training.losses import DENSE_LOSSES, SUMMARY_LOSSES, angle_between, best_constant_direction, overlap
from training.losses.constant import best_constant
from training.losses.registry import Loss
from training.losses.shift_equivariant import Shift
from training.losses.tokens import mean_over_tokens
from training.objectives.grids import resample_tokens
from training.objectives.heads import ProjectorHead
from training.teachers.normalizer import FeatureNormalizer

# Dense tokens of every calibration frame that the best constant is looked for among: 2048 frames of them are enough to
# know a mean to 2 % of the deviation, and few enough to be kept.
SAMPLED_TOKENS = 2
LENGTH_DECAY = 0.99  # of what earlier batches weigh in `Branch.length`


@dataclass(frozen=True)
class Compared:
    """A batch of one teacher's tokens beside the student's, on one grid and in the normalised space.

    Attributes:
        agreement: the loss and what it is to be read against.
        prediction: `(B, D)` or `(B, N, D)`.
        target: of the same shape.
        valid_mask: bool `(B,)` or `(B, N)`; `None` when all count.
    """

    agreement: Agreement
    prediction: Tensor
    target: Tensor
    valid_mask: Tensor | None


class Branch(nn.Module, ABC):
    """What the student predicts for one teacher and one kind of token.

    Args:
        student_width: width of the student's tokens.
        teacher_width: width of the teacher's tokens.
        hidden_width: hidden width of the projector head.
        mode: normaliser mode (`none`, `center`, `standardize`, `phi_s`).
        loss: name of the loss, one of `SUMMARY_LOSSES` or `DENSE_LOSSES`.
        block_heads: attention heads of a transformer block in the head; 0 has none.

    Attributes:
        constant: the constant prediction with the lowest loss on the calibration data, float32 `(teacher_width,)`.
        length: Σ⟨x, y⟩ and Σ⟨x, x⟩ of predictions and targets over the last hundred or so training batches, float32
            `(2,)`. Their ratio is the factor that brings predictions nearest to the targets; a loss in `FREE_LENGTH`
            leaves it open, and export needs it.
    """

    def __init__(
        self, student_width: int, teacher_width: int, hidden_width: int, mode: str, loss: str, block_heads: int = 0
    ) -> None:
        super().__init__()
        self.loss = loss
        self.head = ProjectorHead(student_width, teacher_width, hidden_width, block_heads)
        self.normalizer = FeatureNormalizer(teacher_width, mode)
        self.constant = nn.Buffer(torch.zeros(teacher_width))
        self.length = nn.Buffer(torch.zeros(2))
        self._observed: list[Tensor] = []

    @abstractmethod
    def observe(self, target: Tensor, valid_mask: Tensor | None = None) -> None:
        """Calibrate on a batch of the teacher's tokens; `valid_mask` as for `forward`."""

    @abstractmethod
    def forward(
        self,
        tokens: Tensor,
        target: Tensor,
        valid_mask: Tensor | None = None,
        shifts: tuple[Shift, Shift] | None = None,
    ) -> Compared:
        """Compare the student's tokens with the teacher's.

        Args:
            tokens: of the student.
            target: of the teacher.
            valid_mask: bool `(B, H*W)` on the teacher's grid, row by row; `None` when every token counts.
            shifts: cells by which the inputs of the student and of the teacher were moved; `None` when they were not.
        """

    @abstractmethod
    def measure(self) -> Loss:
        """The loss on normalised tokens."""

    def freeze(self) -> None:
        """End calibration: fix the normaliser and the best constant.

        Raises:
            UserError: too few vectors, or vectors without any spread.
        """
        self.normalizer.merge_processes()
        self.normalizer.freeze()
        if self.loss == "mse":  # known exactly, from all vectors
            self.constant.copy_(self.normalizer.center())
        else:
            observed = [part.to(self.constant.device) for part in gather(torch.cat(self._observed).cpu())]
            self.fit_constant(self.normalizer(torch.cat(observed)))
        self._observed = []

    def fit_constant(self, targets: Tensor) -> None:
        """Fix the best constant for normalised targets `(N, teacher_width)` of the calibration."""
        loss = self.measure()
        self.constant.copy_(best_constant(lambda x, y: loss(x[:, None], y[:, None]), targets))

    def keep(self, tokens: Tensor) -> None:
        """Keep tokens `(N, teacher_width)` for `fit_constant`, which needs them in the finished normaliser's space."""
        if self.loss != "mse":
            self._observed.append(tokens)

    def agreement(self, prediction: Tensor, target: Tensor, valid_mask: Tensor | None) -> Agreement:
        """Loss, cosine and the constant's loss of normalised tokens `(B, D)` or `(B, N, D)`."""
        loss = self.measure()
        value = loss(prediction, target, valid_mask)
        if self.training and torch.is_grad_enabled():
            self._follow_length(prediction.detach(), target, valid_mask)
        with torch.no_grad():
            constant = loss(self.constant.expand_as(target), target, valid_mask)
            center = self.normalizer.center()
            cosine = F.cosine_similarity(prediction - center, target - center, dim=-1)  # (B,) or (B, N)
            counted = valid_mask if valid_mask is None or valid_mask.ndim == 1 else valid_mask.any(dim=1)
            if cosine.ndim == 2:
                cosine = mean_over_tokens(cosine, valid_mask)
            elif counted is not None:
                cosine = cosine.masked_fill(~counted, 0)
        return Agreement(value, constant, cosine, value.detach(), constant, counted)

    def _follow_length(self, prediction: Tensor, target: Tensor, valid_mask: Tensor | None) -> None:
        """Count a batch that is learned from in `length`."""
        if valid_mask is not None:
            outside = ~valid_mask[..., None]
            prediction, target = prediction.masked_fill(outside, 0), target.masked_fill(outside, 0)
        sums = torch.stack([(prediction * target).sum(), prediction.square().sum()])
        self.length.mul_(LENGTH_DECAY).add_(sums)


class SummaryBranch(Branch):
    """A loss on summary vectors `(B, D)`; `angle` is divided by how widely the teacher's summaries spread.

    Attributes:
        dispersion: that spread in rad², scalar; only `angle` needs it.
    """

    def __init__(
        self, student_width: int, teacher_width: int, hidden_width: int, mode: str, loss: str, block_heads: int = 0
    ) -> None:
        super().__init__(student_width, teacher_width, hidden_width, mode, loss, block_heads)
        self.dispersion = nn.Buffer(torch.zeros(()))

    def observe(self, target: Tensor, valid_mask: Tensor | None = None) -> None:
        """Count summaries `(B, D)`."""
        if valid_mask is not None:
            target = target[valid_mask.any(dim=1)]
        self.normalizer.update(target)
        self.keep(target)

    def fit_constant(self, targets: Tensor) -> None:
        """See `Branch`; with `angle` the best constant direction, and the dispersion around it."""
        if self.loss != "angle":
            return super().fit_constant(targets)
        self.constant.copy_(best_constant_direction(targets))
        self.dispersion.copy_(angle_between(targets, self.constant.expand_as(targets)).square().mean())

    def measure(self) -> Loss:
        """See `Branch`."""
        loss = SUMMARY_LOSSES.get(self.loss)
        return partial(loss, dispersion=self.dispersion) if self.loss == "angle" else loss

    def forward(
        self,
        tokens: Tensor,
        target: Tensor,
        valid_mask: Tensor | None = None,
        shifts: tuple[Shift, Shift] | None = None,
    ) -> Compared:
        """Compare the student's summary `(B, Ws)` with the teacher's `(B, Wt)`.

        Student and teacher see the same pixels, valid or not, so a summary counts unless its view has no valid token.
        A shift by a cell or two is no other picture.
        """
        prediction, target = self.head(tokens), self.normalizer(target)
        counted = None if valid_mask is None else valid_mask.any(dim=1)  # (B, H*W) -> (B,)
        return Compared(self.agreement(prediction, target, counted), prediction, target, counted)


class DenseBranch(Branch):
    """A loss on normalised dense tokens, on the teacher's own grid."""

    def observe(self, target: Tensor, valid_mask: Tensor | None = None) -> None:
        """Count dense tokens `(B, D, H, W)`, and keep a few of every frame."""
        tokens = target.flatten(2).transpose(1, 2)  # (B, D, H, W) -> (B, H*W, D)
        self.normalizer.update(tokens, valid_mask)
        count = tokens.shape[1]
        # Spread over the frame, and elsewhere in every batch.
        places = (torch.arange(SAMPLED_TOKENS) * count // SAMPLED_TOKENS + 7 * len(self._observed)) % count
        sampled = tokens[:, places]
        self.keep(sampled.flatten(0, 1) if valid_mask is None else sampled[valid_mask[:, places]])

    def measure(self) -> Loss:
        """See `Branch`."""
        return DENSE_LOSSES.get(self.loss)

    def forward(
        self,
        tokens: Tensor,
        target: Tensor,
        valid_mask: Tensor | None = None,
        shifts: tuple[Shift, Shift] | None = None,
    ) -> Compared:
        """Compare the student's dense tokens `(B, Ws, h, w)` with the teacher's `(B, Wt, H, W)`.

        With `shifts` only the cells that both inputs show are compared, and N of the answer is their number.
        """
        grid, target_grid = (tokens.shape[-2], tokens.shape[-1]), (target.shape[-2], target.shape[-1])
        # (B, D, h, w) -> (B, h*w, D)
        prediction = tokens.flatten(2).transpose(1, 2)
        # The head is the costly part: it runs on the grid with fewer cells.
        if math.prod(target_grid) < math.prod(grid):
            prediction = self.head(resample_tokens(prediction, grid, target_grid))
        else:
            prediction = resample_tokens(self.head(prediction), grid, target_grid)
        target = self.normalizer(target.flatten(2).transpose(1, 2))
        if shifts is not None:
            prediction, target, valid_mask = overlap(
                prediction, target, valid_mask, grid=target_grid, student_shift=shifts[0], teacher_shift=shifts[1]
            )
        return Compared(self.agreement(prediction, target, valid_mask), prediction, target, valid_mask)

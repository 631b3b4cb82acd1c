"""DINO with iBOT and KoLeo, the recipe of DINOv2: agree with one's own average across views and on masked patches."""

import itertools
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from modeling_zen import ZenImageProcessor, ZenModel
from training.diagnostics.agreement import AgreementMeter
from training.errors import UserError
from training.loader import ViewBatch
from training.losses.dino_cross_entropy import dino_cross_entropy
from training.losses.koleo import koleo
from training.objectives.block_masks import masked_batch
from training.objectives.counting import clip_ids, counted_images, learns_from, mean_of_images
from training.objectives.grids import valid_tokens
from training.objectives.momentum_copy import MomentumCopy, momentum_at
from training.objectives.objective import STRATEGIES, Objective, Setup
from training.objectives.prototype_head import CenteredSoftmax, PrototypeBranch, PrototypeHead
from training.views import Crops


@dataclass(frozen=True)
class DinoConfig:
    """Settings of DINO; from DINOv2, arXiv 2304.07193, where nothing else is said."""

    dino_weight: float = 1.0  # of the agreement of summaries across views
    ibot_weight: float = 1.0  # of the agreement on masked patches; 0 masks nothing
    koleo_weight: float = 0.1  # of the spread of a batch's summaries
    local_crops: int = 8  # small views per frame beside the two large ones; 0 saves about half of the time
    local_size: int = 96  # pixels of a small view; a multiple of the patch, 3/7 of 224
    local_scale: tuple[float, float] = (0.05, 0.4)  # share of the frame in a small view; meets data.views.crop_scale
    prototypes: int = 4096  # of 65536: batches here are hundreds of times smaller too
    head_width: int = 2048  # hidden width of the heads
    bottleneck_width: int = 256  # where tokens are compared with prototypes
    student_temperature: float = 0.1  # of the student's distribution
    teacher_temperature: float = 0.04  # of the teacher's; where the warm-up of DINO begins, safe for short runs
    center_momentum: float = 0.9  # of the teacher's center; DINO
    momentum: float = 0.992  # of the teacher at the start; ends at 1. Runs of few steps need less
    masked_images: float = 0.5  # share of a batch's images with masked patches
    mask_ratio: tuple[float, float] = (0.1, 0.5)  # share of masked patches in those

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        for name in ("local_size", "prototypes", "head_width", "bottleneck_width"):
            if getattr(self, name) < 1:
                raise UserError(f"dino.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("dino_weight", "ibot_weight", "koleo_weight", "local_crops"):
            if getattr(self, name) < 0:
                raise UserError(f"dino.{name} must not be negative, got {getattr(self, name)}")
        if self.dino_weight == 0:
            raise UserError("dino.dino_weight must be positive: without it nothing trains the summary tokens")
        for name in ("student_temperature", "teacher_temperature"):
            if getattr(self, name) <= 0:
                raise UserError(f"dino.{name} must be positive, got {getattr(self, name)}")
        for name in ("center_momentum", "momentum", "masked_images"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"dino.{name} must lie in [0, 1], got {getattr(self, name)}")
        for name in ("local_scale", "mask_ratio"):
            low, high = getattr(self, name)
            if not 0 < low <= high <= 1:
                raise UserError(f"dino.{name} must satisfy 0 < low <= high <= 1, got {[low, high]}")


@STRATEGIES.register("dino")
class DinoObjective(Objective):
    """Losses "dino", "ibot" and "koleo".

    Student and teacher, a moving average of it, see two large views; the student also sees small ones, and in the first
    large view, whose valid pixels are known, some patches are masked. "dino" compares summaries of different views,
    "ibot" the masked patches with what the teacher sees there, both as distributions over prototypes, each from a head
    of its own. "koleo" spreads the student's summaries, those of one clip excepted.

    Args:
        student: the model to train.
        processor: its image processor.
        config: settings.
        image_size: side of the student's square input in pixels.
        largest_size: the largest side at which the student will work; the second large view is drawn at it.
        seed: of the run.

    Raises:
        UserError: small views that are no multiple of the student's patch.

    Source: DINO, arXiv 2104.14294; iBOT, arXiv 2111.07832; their union with KoLeo in DINOv2, arXiv 2304.07193, section
    4 (also for the two heads), whose Sinkhorn-Knopp iterations are replaced by DINO's center, see `CenteredSoftmax`.
    """

    def __init__(
        self,
        student: ZenModel,
        processor: ZenImageProcessor,
        config: DinoConfig,
        image_size: int,
        largest_size: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(student, processor, image_size, seed)
        self._config = config
        if config.local_crops and config.local_size % student.config.patch_size:
            raise UserError(
                f"dino.local_size={config.local_size} is no multiple of the student's patch, "
                f"{student.config.patch_size} pixels"
            )
        large = Crops(1, largest_size or image_size)
        small = Crops(config.local_crops, config.local_size, config.local_scale)
        self.crops = (large, small) if config.local_crops else (large,)
        width = student.config.hidden_size
        self.teacher = MomentumCopy(student)
        self.summaries = self._new_branch(width)
        self.patches = self._new_branch(width) if config.ibot_weight else None
        self.mask_token = nn.Parameter(torch.zeros(width)) if config.ibot_weight else None

    def _new_branch(self, width: int) -> PrototypeBranch:
        config = self._config
        return PrototypeBranch(
            PrototypeHead(width, config.head_width, config.bottleneck_width, config.prototypes),
            CenteredSoftmax(config.prototypes, config.teacher_temperature, config.center_momentum),
        )

    @classmethod
    def build(cls, setup: Setup) -> Self:
        """See `Objective`."""
        config = setup.config
        size, largest = config.student.image_size, max(config.resolutions.sizes)
        return cls(setup.student, setup.processor, config.dino, size, largest, config.seed)

    def forward(self, batch: ViewBatch, prepared: Any = None, meter: AgreementMeter | None = None) -> dict[str, Tensor]:
        """See `Objective`. Only valid patches are masked; images without any leave all three means."""
        config = self._config
        size, patch = self.student_size(batch), self.student.config.patch_size
        grid = (size // patch, size // patch)
        large = torch.cat([self.pixels(batch.images, size), self.pixels(batch.crops[0][:, 0], size)])  # (2 B, 3, S, S)
        counted = counted_images(batch, grid)
        masked = self._masked(batch, grid)  # (B, N)

        theirs = self.teacher(pixel_values=large)
        summary_logits = self.summaries.teacher_head(theirs.pooler_output)  # (2 B, K)
        targets = self.summaries.softmax(summary_logits).chunk(2)
        hidden = None if self.mask_token is None else torch.cat([masked, torch.zeros_like(masked)])  # (2 B, N)
        own = self.student(pixel_values=large, masked_patches=hidden, mask_token=self.mask_token)
        views = [*self.summaries.head(own.pooler_output).chunk(2), *self._small_views(batch)]
        losses = {"dino": config.dino_weight * mean_of_images(self._across_views(views, targets), counted)}
        if self.patches is not None:
            states = (own.last_hidden_state, theirs.last_hidden_state)
            losses["ibot"] = config.ibot_weight * self._on_masked(self.patches, *states, masked, batch)
        if config.koleo_weight:
            spread = torch.stack([koleo(each, clip_ids(batch), counted) for each in own.pooler_output.chunk(2)])
            losses["koleo"] = config.koleo_weight * mean_of_images(spread.mean(dim=0), counted)
        if learns_from(batch):
            self.summaries.softmax.update(summary_logits if counted is None else summary_logits[counted.repeat(2)])
        return losses

    def _masked(self, batch: ViewBatch, grid: tuple[int, int]) -> Tensor:
        """Patches of the main views to mask, bool `(B, N)`: valid ones only."""
        config, device = self._config, batch.images.device
        masked = masked_batch(
            len(batch.images), grid, config.masked_images, config.mask_ratio, self.generator(batch)
        ).to(device)
        return masked if batch.mask is None else masked & valid_tokens(batch.mask, grid)

    def _small_views(self, batch: ViewBatch) -> list[Tensor]:
        """The student's logits for each small view, `(B, K)` each."""
        if not self._config.local_crops:
            return []
        small = batch.crops[1].flatten(0, 1)  # (B, count, 3, S, S) -> (B * count, 3, S, S)
        summaries = self.student(pixel_values=self.pixels(small, self._config.local_size)).pooler_output
        return list(self.summaries.head(summaries).unflatten(0, (-1, self._config.local_crops)).unbind(1))

    def _across_views(self, views: list[Tensor], targets: tuple[Tensor, ...]) -> Tensor:
        """Mean cross-entropy over all pairs of a teacher's view and another one of the student's, `(B,)`."""
        pairs = [
            dino_cross_entropy(view, target, temperature=self._config.student_temperature)
            for (own, view), (other, target) in itertools.product(enumerate(views), enumerate(targets))
            if own != other
        ]
        return torch.stack(pairs).mean(dim=0)

    def _on_masked(
        self,
        branch: PrototypeBranch,
        own: Tensor,
        theirs: Tensor,
        masked: Tensor,
        batch: ViewBatch,
    ) -> Tensor:
        """Cross-entropy on the masked patches of the main views, the mean over those of an image and then over images.

        Args:
            branch: with the heads.
            own: `last_hidden_state` of the student, `(2 B, tokens, W)`; the main views are its first half.
            theirs: that of the teacher.
            masked: bool `(B, N)`.
            batch: tells whether the center moves.
        """
        prefix = self.student.config.num_prefix_tokens
        # (2 B, tokens, W) -> (B, N, W) -> (M, W), the masked patches of the batch in their order
        guessed, seen = (states[: len(masked), prefix:][masked] for states in (own, theirs))
        logits = branch.teacher_head(seen)
        loss = dino_cross_entropy(
            branch.head(guessed), branch.softmax(logits), temperature=self._config.student_temperature
        )
        if learns_from(batch):
            branch.softmax.update(logits)
        per_image = loss.new_zeros(len(masked)).index_add(0, masked.nonzero()[:, 0], loss)
        return mean_of_images(per_image / masked.sum(dim=1).clamp(min=1), masked.any(dim=1))

    def after_step(self, step: int, schedule_steps: int) -> None:
        """Move the teacher towards student and heads."""
        momentum = momentum_at(step, schedule_steps, self._config.momentum)
        self.teacher.follow(self.student, momentum)
        for branch in (self.summaries, self.patches):
            if branch is not None:
                branch.follow(momentum)

"""I-JEPA: predict the features of hidden blocks from the rest of the image."""

from dataclasses import dataclass
from typing import Any, Self

import torch.nn.functional as F
from torch import Tensor

from modeling_zen import ZenImageProcessor, ZenModel
from training.diagnostics.agreement import AgreementMeter
from training.errors import UserError
from training.loader import ViewBatch
from training.losses.mse import mse
from training.objectives.block_masks import TargetBlocks
from training.objectives.counting import mean_of_images
from training.objectives.grids import valid_tokens
from training.objectives.momentum_copy import MomentumCopy, momentum_at
from training.objectives.objective import STRATEGIES, Objective, Setup
from training.objectives.token_predictor import TokenPredictor
from training.objectives.visible_tokens import context_tokens, encode_visible, take_tokens


@dataclass(frozen=True)
class IjepaConfig:
    """Settings of I-JEPA; all from its appendix A, where nothing else is said."""

    targets: int = 4  # blocks to predict
    target_scale: tuple[float, float] = (0.15, 0.2)  # share of the image that each covers
    target_ratio: tuple[float, float] = (0.75, 1.5)  # height / width
    context_scale: tuple[float, float] = (0.85, 1.0)  # share of the image that is seen, before the targets are cut out
    predictor_width: int | None = None  # channels; null: half of the student's, as 384 for ViT-B
    predictor_depth: int = 6  # layers; as for ViT-B
    momentum: float = 0.996  # of the target encoder at the start; ends at 1. Runs of few steps need less

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        for name in ("targets", "predictor_depth"):
            if getattr(self, name) < 1:
                raise UserError(f"ijepa.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("target_scale", "context_scale"):
            low, high = getattr(self, name)
            if not 0 < low <= high <= 1:
                raise UserError(f"ijepa.{name} must satisfy 0 < low <= high <= 1, got {[low, high]}")
        if not 0.5 <= self.target_ratio[0] <= self.target_ratio[1] <= 2:
            raise UserError(f"ijepa.target_ratio must satisfy 0.5 <= low <= high <= 2, got {list(self.target_ratio)}")
        if not 0 <= self.momentum <= 1:
            raise UserError(f"ijepa.momentum must lie in [0, 1], got {self.momentum}")


@STRATEGIES.register("ijepa")
class IjepaObjective(Objective):
    """Loss "features": squared error on the target encoder's tokens of hidden blocks.

    The target encoder, a moving average of the student, sees the whole image; its tokens are brought to mean 0 and
    variance 1 each, so that predicting nothing scores 1. The student sees the context only, and a predictor that is
    thrown away tells each block from it.

    Args:
        student: the model to train.
        processor: its image processor.
        config: settings.
        image_size: side of the student's square input in pixels.
        sizes: further sides at which the student will work.
        seed: of the run.

    Raises:
        UserError: an image size at which the targets may cover the whole context.

    Source: Assran et al., arXiv 2301.08243, equation 1. Unlike there, the summary tokens belong to the context, the
    momentum follows half a cosine instead of a line, and positions are sines of relative coordinates.
    """

    def __init__(
        self,
        student: ZenModel,
        processor: ZenImageProcessor,
        config: IjepaConfig,
        image_size: int,
        sizes: tuple[int, ...] = (),
        seed: int = 0,
    ) -> None:
        super().__init__(student, processor, image_size, seed)
        self._config = config
        self._blocks = TargetBlocks(config.targets, config.target_scale, config.target_ratio, config.context_scale)
        width, patch = student.config.hidden_size, student.config.patch_size
        for size in {image_size, *sizes}:
            self._blocks.check((size // patch, size // patch), patch)
        self.target = MomentumCopy(student)
        self.predictor = TokenPredictor(width, width, config.predictor_width, config.predictor_depth)

    @classmethod
    def build(cls, setup: Setup) -> Self:
        """See `Objective`."""
        config = setup.config
        size, sizes = config.student.image_size, config.resolutions.sizes
        return cls(setup.student, setup.processor, config.ijepa, size, sizes, config.seed)

    def forward(self, batch: ViewBatch, prepared: Any = None, meter: AgreementMeter | None = None) -> dict[str, Tensor]:
        """See `Objective`. Tokens that do not count are no targets; the context may hold them."""
        size, patch = self.student_size(batch), self.student.config.patch_size
        pixels = self.pixels(batch.images, size)
        grid, device = (size // patch, size // patch), pixels.device
        blocks = self._blocks.draw(len(pixels), grid, self.generator(batch))
        context, targets = blocks.context.to(device), blocks.targets.to(device)
        hidden = targets.flatten(1)  # (B, M, K) -> (B, M * K)
        tokens = self.target(pixel_values=pixels).last_hidden_state[:, self.student.config.num_prefix_tokens :]
        target = take_tokens(F.layer_norm(tokens.float(), tokens.shape[-1:]), hidden)
        seen = context_tokens(self.student, encode_visible(self.student, pixels, context))
        # Each block is told from the context alone: M copies of it side by side in the batch.
        count = self._config.targets
        prediction = self.predictor(
            seen.repeat_interleave(count, dim=0),
            context.repeat_interleave(count, dim=0),
            targets.flatten(0, 1),  # (B, M, K) -> (B * M, K)
            grid,
        ).unflatten(0, (-1, count))  # (B * M, K, D) -> (B, M, K, D)
        valid = None if batch.mask is None else valid_tokens(batch.mask, grid).gather(1, hidden)
        counted = None if valid is None else valid.any(dim=1)
        return {"features": mean_of_images(mse(prediction.flatten(1, 2), target, valid), counted)}

    def after_step(self, step: int, schedule_steps: int) -> None:
        """Move the target encoder towards the student."""
        self.target.follow(self.student, momentum_at(step, schedule_steps, self._config.momentum))

"""Masked autoencoder: predict the pixels of hidden patches from a quarter of them."""

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from modeling_zen import ZenImageProcessor, ZenModel
from training.diagnostics.agreement import AgreementMeter
from training.errors import UserError
from training.loader import ViewBatch
from training.losses.mse import mse
from training.objectives.counting import mean_of_images
from training.objectives.grids import valid_tokens
from training.objectives.objective import STRATEGIES, Objective, Setup
from training.objectives.token_predictor import TokenPredictor
from training.objectives.visible_tokens import context_tokens, encode_visible, take_tokens


@dataclass(frozen=True)
class MaeConfig:
    """Settings of the masked autoencoder."""

    mask_ratio: float = 0.75  # share of hidden patches; the optimum of MAE, figure 5
    decoder_width: int | None = None  # channels; null: half of the student's, as MAE's 512 for 1024
    decoder_depth: int = 4  # layers; MAE has 8 for an encoder of 24, a third, and so has this for a student of 12

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        if not 0 < self.mask_ratio < 1:
            raise UserError(f"mae.mask_ratio must lie between 0 and 1, got {self.mask_ratio}")
        if self.decoder_depth < 1:
            raise UserError(f"mae.decoder_depth must be at least 1, got {self.decoder_depth}")


@STRATEGIES.register("mae")
class MaeObjective(Objective):
    """Loss "pixels": squared error on hidden patches, each in its own mean and deviation.

    The student encodes the visible patches, the summary tokens and registers only; a decoder that is thrown away
    predicts the others. Predicting nothing, the mean of each patch, scores 1.

    Args:
        student: the model to train.
        processor: its image processor.
        config: settings.
        image_size: side of the student's square input in pixels.
        seed: of the run.

    Source: He et al., arXiv 2111.06377. Unlike there, positions of the decoder are sines of relative coordinates, so
    that resolutions may change.
    """

    def __init__(
        self, student: ZenModel, processor: ZenImageProcessor, config: MaeConfig, image_size: int, seed: int = 0
    ) -> None:
        super().__init__(student, processor, image_size, seed)
        self._config = config
        width, patch = student.config.hidden_size, student.config.patch_size
        self.decoder = TokenPredictor(width, 3 * patch**2, config.decoder_width, config.decoder_depth)

    @classmethod
    def build(cls, setup: Setup) -> Self:
        """See `Objective`."""
        config = setup.config
        return cls(setup.student, setup.processor, config.mae, config.student.image_size, config.seed)

    def forward(self, batch: ViewBatch, prepared: Any = None, meter: AgreementMeter | None = None) -> dict[str, Tensor]:
        """See `Objective`. Hidden patches that do not count are not learned."""
        size, patch = self.student_size(batch), self.student.config.patch_size
        pixels = self.pixels(batch.images, size)
        grid = (size // patch, size // patch)
        visible, hidden = self._split(batch, grid[0] * grid[1])
        encoded = encode_visible(self.student, pixels, visible)
        prediction = self.decoder(context_tokens(self.student, encoded), visible, hidden, grid)
        target = take_tokens(normalized_patches(pixels, patch), hidden)
        valid = None if batch.mask is None else valid_tokens(batch.mask, grid).gather(1, hidden)
        counted = None if valid is None else valid.any(dim=1)
        return {"pixels": mean_of_images(mse(prediction, target, valid), counted)}

    def _split(self, batch: ViewBatch, patches: int) -> tuple[Tensor, Tensor]:
        """Visible and hidden patches of every image, int64 `(B, n)` and `(B, patches - n)`."""
        count = max(1, round((1 - self._config.mask_ratio) * patches))
        order = torch.rand(len(batch.images), patches, generator=self.generator(batch)).argsort(dim=1)
        order = order.to(batch.images.device)
        return order[:, :count], order[:, count:]


def normalized_patches(pixels: Tensor, patch: int) -> Tensor:
    """Patches of images `(B, 3, H, W)`, row by row, each with mean 0 and variance 1: float32 `(B, N, 3 * patch²)`.

    A patch of one color is 0 throughout: 1e-6 stands beside the variance.

    Source: MAE, arXiv 2111.06377, section 3 ("normalized pixels").
    """
    # (B, 3, rows * patch, columns * patch) -> (B, 3, rows, columns, patch, patch) -> (B, N, 3 * patch * patch)
    cut = pixels.float().unfold(2, patch, patch).unfold(3, patch, patch)
    patches = cut.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    variance, mean = torch.var_mean(patches, dim=-1, keepdim=True, correction=0)
    return (patches - mean) / (variance + 1e-6).sqrt()

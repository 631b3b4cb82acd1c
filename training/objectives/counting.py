"""Which images of a batch count, and means over those that do."""

import torch
from torch import Tensor

from training.loader import ViewBatch
from training.objectives.grids import valid_tokens


def counted_images(batch: ViewBatch, grid: tuple[int, int]) -> Tensor | None:
    """Images with a valid token on the student's `grid`, bool `(B,)`; `None` when every pixel of the batch counts."""
    return None if batch.mask is None else valid_tokens(batch.mask, grid).any(dim=1)


def mean_of_images(values: Tensor, counted: Tensor | None) -> Tensor:
    """Mean of `values` `(B,)` over the images that count, a scalar; 0 when none does. The others must be 0 already."""
    if counted is None:
        return values.mean()
    return values.masked_fill(~counted, 0).sum() / counted.sum().clamp(min=1)


def clip_ids(batch: ViewBatch) -> Tensor:
    """The clip of every frame as a number that no clip of the other split has, int64 `(B,)`: below 0 if held out."""
    held_out = (batch.numbers < 0).to(batch.clips.device)
    return torch.where(held_out, -1 - batch.clips, batch.clips)


def learns_from(batch: ViewBatch) -> bool:
    """Whether a batch is of training frames: only then centers and queues move."""
    return int(batch.numbers[0]) >= 0

"""What the loop asks of a pretraining strategy, and what all strategies share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modeling_zen import ZenImageProcessor, ZenModel
from training.corpus import Corpus
from training.diagnostics.agreement import AgreementMeter
from training.loader import ViewBatch
from training.registry import Registry
from training.views import Crops

if TYPE_CHECKING:
    from training.settings import PretrainConfig


class Objective(nn.Module, ABC):
    """A pretraining strategy: trains the student inside by `forward`, which maps a batch to named losses.

    The loop calls, at every step, `prepare` (outside of DDP and of the graph), `forward`, and after the optimiser's
    step `after_step`. Whatever a resumed run must find again is in the state dict. What is drawn at random is drawn
    from `generator`, a pure function of the batch, so that it has no state.

    A strategy is one file: a subclass that is registered under its name in `STRATEGIES`, and the dataclass of its
    settings, which is a field of that name in `PretrainConfig`.

    Attributes:
        needs_teachers: whether frozen teachers must be named; a strategy that needs none refuses them.
        student: the model that is trained, saved and exported.
        image_size: side of the student's square input in pixels, where a batch states none.
        crops: further views of every frame that the loader must draw, see `ViewBatch.crops`.
        calibration_frames: training frames to be shown to `observe` before step 0; 0 needs none.
    """

    needs_teachers: ClassVar[bool] = False
    crops: tuple[Crops, ...] = ()
    calibration_frames: int = 0

    def __init__(self, student: ZenModel, processor: ZenImageProcessor, image_size: int, seed: int = 0) -> None:
        super().__init__()
        self.student = student
        self.image_size = image_size
        self._seed = seed
        self.mean = nn.Buffer(torch.tensor(processor.image_mean).view(1, 3, 1, 1), persistent=False)
        self.std = nn.Buffer(torch.tensor(processor.image_std).view(1, 3, 1, 1), persistent=False)

    @classmethod
    @abstractmethod
    def build(cls, setup: Setup) -> Self:
        """The strategy of a run, on the CPU. Raises `UserError` for settings that its student or corpus do not fit."""

    @abstractmethod
    def forward(self, batch: ViewBatch, prepared: Any = None, meter: AgreementMeter | None = None) -> dict[str, Tensor]:
        """Named losses of a batch, scalars, each already weighted and averaged over images.

        Args:
            batch: views on the device of the student.
            prepared: what `prepare` answered for it.
            meter: where agreement with teachers is counted, by strategies that have any.
        """

    def prepare(self, batch: ViewBatch) -> Any:
        """What `forward` needs of frozen networks, computed without gradients; nothing by default."""
        return None

    def after_step(self, step: int, schedule_steps: int) -> None:
        """After the optimiser's step number `step` (from 1) of a schedule: where moving averages move; else nothing."""

    def observe(self, batch: ViewBatch, prepared: Any) -> None:
        """See a batch of the calibration."""

    def freeze(self) -> None:
        """End the calibration."""

    def view_size(self, image_size: int) -> int:
        """Side in pixels of the main view when the student works at `image_size`: what its hungriest network wants."""
        return image_size

    def facts(self) -> dict[str, Any]:
        """Files of the run folder by name, JSON-able, that a resumed run must find again, such as who teaches."""
        return {}

    def banner(self) -> list[str]:
        """Lines about the strategy to print before step 0."""
        return []

    def pixels(self, images: Tensor, size: int) -> Tensor:
        """The student's input, float `(B, 3, size, size)`, of views in [0, 1] of any size."""
        return student_pixels(images, size, self.mean, self.std)

    def student_size(self, batch: ViewBatch) -> int:
        """Side in pixels at which the student sees this batch."""
        return batch.image_size or self.image_size

    def generator(self, batch: ViewBatch) -> torch.Generator:
        """A generator on the CPU that is the same whenever the same views come again."""
        state = np.random.SeedSequence([self._seed, int(batch.numbers[0]) % 2**63, 3]).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


@dataclass(frozen=True)
class Setup:
    """What a strategy is built from."""

    config: PretrainConfig  # of the run; the strategy's own settings are a field of its name
    student: ZenModel  # on the CPU, in training mode
    processor: ZenImageProcessor  # that travels with the student
    corpus: Corpus  # what will be trained on
    device: torch.device  # where the strategy will be moved to


STRATEGIES: Registry[type[Objective]] = Registry("strategy")


def student_pixels(images: Tensor, size: int, mean: Tensor, std: Tensor) -> Tensor:
    """Views float `(B, 3, V, V)` in [0, 1] as a student is shown them: resized to `size` and normalized."""
    if images.shape[-1] != size:
        images = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    return (images - mean) / std

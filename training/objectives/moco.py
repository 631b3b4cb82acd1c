"""MoCo: find the other view of a frame among views of other clips."""

from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modeling_zen import ZenImageProcessor, ZenModel
from training.diagnostics.agreement import AgreementMeter
from training.distributed import rows_of_processes
from training.errors import UserError
from training.loader import ViewBatch
from training.losses.info_nce import info_nce
from training.objectives.counting import clip_ids, counted_images, learns_from, mean_of_images
from training.objectives.heads import ProjectorHead
from training.objectives.momentum_copy import MomentumCopy, momentum_at
from training.objectives.objective import STRATEGIES, Objective, Setup
from training.views import Crops

NO_CLIP = torch.iinfo(torch.int64).min  # clip of a place of the queue that is empty, or of an image that does not count


@dataclass(frozen=True)
class MocoConfig:
    """Settings of MoCo."""

    temperature: float = 0.2  # MoCo v3, section 4.2
    momentum: float = 0.99  # of the key encoder at the start; ends at 1. MoCo v3, section 4.1
    queue_size: int = 4096  # keys of earlier steps; as many negatives as the batch that MoCo v3 finds best for ViTs
    key_width: int = 256  # channels of what is compared; MoCo v3, section 4.1
    head_width: int | None = None  # hidden width of projector and predictor; null: max(1536, 2 x student width)

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        for name in ("queue_size", "key_width"):
            if getattr(self, name) < 1:
                raise UserError(f"moco.{name} must be at least 1, got {getattr(self, name)}")
        if self.head_width is not None and self.head_width < 1:
            raise UserError(f"moco.head_width must be positive, got {self.head_width}")
        if self.temperature <= 0:
            raise UserError(f"moco.temperature must be positive, got {self.temperature}")
        if not 0 <= self.momentum <= 1:
            raise UserError(f"moco.momentum must lie in [0, 1], got {self.momentum}")


@STRATEGIES.register("moco")
class MocoObjective(Objective):
    """Loss "contrast": InfoNCE between two views of a frame, in both directions.

    Queries are the student's summary tokens through projector and predictor, keys those of a moving average of student
    and projector. Negatives are the keys of the batch and of a queue. A queue, because in-batch negatives alone, as
    MoCo v3 has them, ask for batches of thousands, and batches here are small: their number then does not hang on the
    batch. Frames of the query's own clip are never its negatives, since they show the same.

    Args:
        student: the model to train.
        processor: its image processor.
        config: settings.
        image_size: side of the student's square input in pixels.
        largest_size: the largest side at which the student will work; the second view is drawn at it.
        seed: of the run.

    Source: MoCo v3, arXiv 2104.02057, algorithm 1, with the queue of MoCo, arXiv 1911.05722, section 3.2, and heads
    with LayerNorm instead of batch norm, through which images of a batch would see each other.
    """

    def __init__(
        self,
        student: ZenModel,
        processor: ZenImageProcessor,
        config: MocoConfig,
        image_size: int,
        largest_size: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(student, processor, image_size, seed)
        self._config = config
        self.crops = (Crops(1, largest_size or image_size),)
        width = student.config.hidden_size
        hidden = config.head_width or max(1536, 2 * width)
        self.projector = ProjectorHead(width, config.key_width, hidden)
        self.predictor = ProjectorHead(config.key_width, config.key_width, hidden)
        self.key_student = MomentumCopy(student)
        self.key_projector = MomentumCopy(self.projector)
        self.queue = nn.Buffer(torch.zeros(config.queue_size, config.key_width))
        self.queue_clips = nn.Buffer(torch.full((config.queue_size,), NO_CLIP))
        self.queue_next = nn.Buffer(torch.zeros((), dtype=torch.int64))

    @classmethod
    def build(cls, setup: Setup) -> Self:
        """See `Objective`."""
        config, clips = setup.config, len(setup.corpus.clips("train"))
        if clips < 2:
            raise UserError(
                f"strategy=moco tells frames of different clips apart, but corpus {setup.corpus.name!r} has {clips} "
                "training clip: curate more videos, or choose another strategy"
            )
        size, largest = config.student.image_size, max(config.resolutions.sizes)
        return cls(setup.student, setup.processor, config.moco, size, largest, config.seed)

    def forward(self, batch: ViewBatch, prepared: Any = None, meter: AgreementMeter | None = None) -> dict[str, Tensor]:
        """See `Objective`. Images without a valid token are neither queries nor keys."""
        size, patch = self.student_size(batch), self.student.config.patch_size
        views = torch.cat([self.pixels(batch.images, size), self.pixels(batch.crops[0][:, 0], size)])  # (2 B, 3, S, S)
        queries = self.predictor(self.projector(self.student(pixel_values=views).pooler_output))
        keys = F.normalize(self.key_projector(self.key_student(pixel_values=views).pooler_output), dim=1)
        counted = counted_images(batch, (size // patch, size // patch))
        clips = clip_ids(batch)
        clips = clips if counted is None else clips.masked_fill(~counted, NO_CLIP)
        clips = clips.repeat(2)  # (B,) -> (2 B,)
        known = torch.cat([clips, self.queue_clips])
        allowed = (clips[:, None] != known[None, :]) & (known != NO_CLIP)
        negatives = torch.cat([keys, self.queue])
        others = keys.roll(len(batch.images), 0)  # the key of the other view
        loss = info_nce(queries, others, negatives, allowed, temperature=self._config.temperature)
        if learns_from(batch):
            self._enqueue(keys, clips)
        # (2 B,) -> (2, B) -> (B,)
        return {"contrast": mean_of_images(loss.unflatten(0, (2, -1)).mean(dim=0), counted)}

    @torch.no_grad()
    def _enqueue(self, keys: Tensor, clips: Tensor) -> None:
        """Put the keys of all processes over the oldest ones, the same on every process."""
        size = self._config.queue_size
        keys, clips = rows_of_processes(keys)[-size:], rows_of_processes(clips)[-size:]
        places = (self.queue_next + torch.arange(len(keys), device=keys.device)) % size
        self.queue[places] = keys.to(self.queue.dtype)
        self.queue_clips[places] = clips
        self.queue_next.copy_((self.queue_next + len(keys)) % size)

    def after_step(self, step: int, schedule_steps: int) -> None:
        """Move the key encoder towards student and projector."""
        momentum = momentum_at(step, schedule_steps, self._config.momentum)
        self.key_student.follow(self.student, momentum)
        self.key_projector.follow(self.projector, momentum)

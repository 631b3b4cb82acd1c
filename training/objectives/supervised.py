"""Supervised: name the procedure of a frame. A reference for what labels alone give, where a corpus has them."""

from dataclasses import dataclass
from typing import Any, Self

import pyarrow.compute as pc
import torch.nn.functional as F
from torch import Tensor, nn

from modeling_zen import ZenImageProcessor, ZenModel
from training.corpus import Corpus
from training.diagnostics.agreement import AgreementMeter
from training.errors import UserError
from training.loader import ViewBatch
from training.objectives.counting import counted_images, mean_of_images
from training.objectives.objective import STRATEGIES, Objective, Setup

NO_LABEL = -1  # in `ViewBatch.procedures`


@dataclass(frozen=True)
class SupervisedConfig:
    """Settings of the supervised reference."""

    label_smoothing: float = 0.1  # share of the label given to all classes alike; as DeiT, arXiv 2012.12877, table 9

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"supervised.label_smoothing must lie in [0, 1), got {self.label_smoothing}")


@STRATEGIES.register("supervised")
class SupervisedObjective(Objective):
    """Loss "procedure": cross-entropy of a linear classifier on the mean summary token.

    Frames without a procedure, or with several, do not count. Whoever guesses evenly scores log of their number.

    Args:
        student: the model to train.
        processor: its image processor.
        config: settings.
        image_size: side of the student's square input in pixels.
        procedures: how many there are, `Corpus.procedures`.
        seed: of the run.
    """

    def __init__(
        self,
        student: ZenModel,
        processor: ZenImageProcessor,
        config: SupervisedConfig,
        image_size: int,
        procedures: int,
        seed: int = 0,
    ) -> None:
        super().__init__(student, processor, image_size, seed)
        self._config = config
        self.classifier = nn.Linear(student.config.hidden_size, procedures)

    @classmethod
    def build(cls, setup: Setup) -> Self:
        """See `Objective`."""
        config, corpus = setup.config, setup.corpus
        taught = _taught_procedures(corpus)
        if len(taught) < 2:
            raise UserError(
                f"strategy=supervised needs training clips of two procedures or more, but those of corpus "
                f"{corpus.name!r} state {'only ' + repr(taught[0]) if taught else 'none'}: curate their sources with "
                "procedure=NAME, or choose another strategy"
            )
        size = config.student.image_size
        return cls(setup.student, setup.processor, config.supervised, size, len(corpus.procedures()), config.seed)

    def forward(self, batch: ViewBatch, prepared: Any = None, meter: AgreementMeter | None = None) -> dict[str, Tensor]:
        """See `Objective`."""
        size, patch = self.student_size(batch), self.student.config.patch_size
        summary = self.student(pixel_values=self.pixels(batch.images, size)).pooler_output
        loss = F.cross_entropy(
            self.classifier(summary).float(),
            batch.procedures,
            ignore_index=NO_LABEL,
            label_smoothing=self._config.label_smoothing,
            reduction="none",
        )
        counted = batch.procedures != NO_LABEL
        valid = counted_images(batch, (size // patch, size // patch))
        return {"procedure": mean_of_images(loss, counted if valid is None else counted & valid)}


def _taught_procedures(corpus: Corpus) -> list[str]:
    """Procedures that a training clip has as its only one, sorted."""
    procedures = corpus.clips("train").column("procedures")
    alone = procedures.filter(pc.equal(pc.list_value_length(procedures), 1))
    return sorted(pc.unique(pc.list_flatten(alone)).to_pylist())

"""What a run computed: floating point operations of teachers and of everything else, counted on its first batch."""

from dataclasses import dataclass, replace

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from training.checkpointing import latest_checkpoint, restore_objective
from training.comparison.plan import Run
from training.corpus import Corpus
from training.loader import TrainingViews, training_batches
from training.strategies import build_objective
from training.student import build_student


@dataclass(frozen=True)
class Cost:
    """Floating point operations: a multiplication and the addition after it are two."""

    teachers_per_view: float  # forward pass of all frozen teachers on one view
    learning_per_frame: float  # forward and backward pass of student, heads and moving averages on one frame
    views_taught: int  # views that teachers were asked about; calibration included
    frames: int  # frames seen

    @property
    def per_frame(self) -> float:
        """Operations per frame seen."""
        return self.total / self.frames

    @property
    def total(self) -> float:
        """Operations of the run, without measurements on held-out frames."""
        return self.teachers_per_view * self.views_taught + self.learning_per_frame * self.frames


def measure_cost(run: Run, corpus: Corpus) -> Cost:
    """Count on the first batch of a finished run, on the CPU.

    Matrix products, convolutions and attention are counted, what works element by element is not. Teachers count for
    every view, or once for each of `data.views_per_frame` fixed ones.

    Raises:
        UserError: as building the run does.
    """
    config = run.config
    student, processor = build_student(config.student)
    objective = build_objective(config, student, processor, corpus, torch.device("cpu"))
    checkpoint = latest_checkpoint(run.folder / "checkpoints")
    assert checkpoint is not None  # a finished run has one
    restore_objective(checkpoint, objective)
    size = objective.view_size(config.student.image_size)
    views = TrainingViews(corpus, replace(config.data, workers=0), size, config.seed, objective.crops)
    batch = next(training_batches(views, 0, 1, config.batch_size, 0, 1))
    # The fused attention of CPUs is unknown to the counter; this one is the same arithmetic.
    with sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as teaching:
            prepared = objective.prepare(batch)
        with FlopCounterMode(display=False) as learning:
            torch.stack(list(objective(batch, prepared).values())).sum().backward()
    frames = len(batch.images)
    fixed = config.data.views_per_frame * views.groups.num_frames
    taught = min(run.frames, fixed) if fixed else run.frames
    if objective.calibration_frames and not fixed:
        taught += objective.calibration_frames
    return Cost(teaching.get_total_flops() / frames, learning.get_total_flops() / frames, taught, run.frames)

"""Planned against measured: peak memory of real distillation steps, for settings that change it.

    python -m benchmarks.step_memory [--config FILE] [--steps 2] [key=value ...]

The settings are those of `training.pretrain`, of which corpus and teachers must be given; each of `VARIANTS` is put on
top in turn. "planned" is what the run prints before step 0. "measured" is the most that tensors took on the device
during some steps: on a GPU what its allocator counts, on a CPU what operators made (`AllocationMeter`), the loader's
views included.
"""

import argparse

import torch
from accelerate import Accelerator

from training.allocation import AllocationMeter
from training.checkpointing import Trainer
from training.config import load_config
from training.corpus import Corpus
from training.diagnostics.agreement import AgreementMeter
from training.errors import run_entry
from training.loader import TrainingViews, held_out_views
from training.moving_average import MovingAverage
from training.objectives.distillation import DistillationObjective
from training.optimization import build_optimizer
from training.pretrain import backward, build, calibrate, start, step_batches
from training.settings import PretrainConfig
from training.teachers.step_plan import MIB, measure_costs, step_memory

VARIANTS: dict[str, tuple[str, ...]] = {
    "as given": (),
    "twice the batch": ("batch_size=2x",),
    "teacher_chunk": ("distillation.teacher_chunk=2",),
    "park_teachers": ("distillation.park_teachers=true",),
    "accumulate": ("accumulate=2",),
    "ema_decay": ("ema_decay=0.99",),
    "gradient_checkpointing": ("student.gradient_checkpointing=true",),
}


def run_steps(
    config: PretrainConfig, accelerator: Accelerator, objective: DistillationObjective, views: TrainingViews, steps: int
) -> None:
    """Steps as `training.pretrain` takes them, beside the held-out frames and targets that its hooks keep."""
    held_out = held_out_views(views.corpus, config.data.held_out_frames, views.size)
    chunks = held_out.split(config.batch_size * config.data.frames_per_clip)
    kept = [objective.prepare(chunk.to(accelerator.device)) for chunk in chunks]
    average = MovingAverage(objective.student, config.ema_decay) if config.ema_decay else None
    optimizer = build_optimizer(objective, config.optimizer, objective.student.config.num_hidden_layers)
    model, optimizer = accelerator.prepare(objective, optimizer)
    trainer = Trainer(accelerator, accelerator.unwrap_model(model), optimizer, average)
    meter = AgreementMeter()
    for step, parts in step_batches(config, accelerator, objective, views, 0):
        losses, batch = backward(
            model, trainer, parts, meter
        )  # the names keep them until the next step, as in the loop
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if average is not None:
            average.update(objective.student)
        if step + 1 == steps:
            break
    del kept, losses, batch


def compare(config: PretrainConfig, steps: int) -> tuple[float, float]:
    """Bytes planned and measured."""
    accelerator = start(config)
    corpus = Corpus.open(config.data.corpus)
    objective, _ = build(config, accelerator, corpus)
    assert isinstance(objective, DistillationObjective)
    views = TrainingViews(corpus, config.data, objective.view_size(config.student.image_size), config.seed)
    calibrate(config, accelerator, objective, views)
    planned = step_memory(measure_costs(objective, config, accelerator), config).peak
    if accelerator.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        run_steps(config, accelerator, objective, views, steps)
        return planned, float(torch.cuda.max_memory_allocated())
    networks = [tensor for teacher in objective.teachers.values() for tensor in teacher.tensors()]
    there = [*objective.parameters(), *objective.buffers(), *networks]
    with AllocationMeter(accelerator.device, there) as meter:
        run_steps(config, accelerator, objective, views, steps)
    return planned, float(meter.peak + sum(tensor.nbytes for tensor in there))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", metavar="FILE")
    parser.add_argument("--steps", type=int, default=2)  # moments are there from the second step on
    parser.add_argument("settings", nargs="*", metavar="key=value")
    arguments = parser.parse_args()
    common = [*arguments.settings, "output_dir=unused", "data.views_per_frame=0"]
    given = load_config(PretrainConfig, arguments.config, common)
    print("| setting | planned MiB | measured MiB | planned / measured |")
    print("|---|---:|---:|---:|")
    for name, words in VARIANTS.items():
        own = [word.replace("2x", str(2 * given.batch_size)) for word in words]
        config = load_config(PretrainConfig, arguments.config, [*common, *own])
        planned, measured = compare(config, arguments.steps)
        row = f"| {name} | {planned / MIB:.0f} | {measured / MIB:.0f} | {planned / measured:.2f} |"
        print(row, flush=True)


if __name__ == "__main__":
    run_entry(main)

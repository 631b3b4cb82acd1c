"""Pretrain a ZEN: `accelerate launch -m training.pretrain --config FILE [key=value ...]`; repeated, it resumes."""

import argparse
import os
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, DistributedType, set_seed
from torch import Tensor, nn
from tqdm import tqdm
from transformers.utils import logging

from modeling_zen import ZenImageProcessor
from training.checkpointing import Trainer, latest_checkpoint, restore_checkpoint, restore_objective, step_of
from training.config import load_config
from training.corpus import Corpus
from training.diagnostics.agreement import AgreementMeter
from training.errors import UserError, run_entry
from training.export import count_parameters, describe_corpus, describe_run, write_hub_folder
from training.hooks import Hooks
from training.loader import TrainingViews, ViewBatch, held_out_views, training_batches
from training.moving_average import MovingAverage
from training.objectives.distillation import DistillationObjective
from training.objectives.objective import Objective
from training.optimization import build_optimizer, learning_rate
from training.run_folder import RunFolder
from training.settings import PretrainConfig
from training.strategies import build_objective
from training.student import build_student
from training.teachers.cache.opening import open_cache
from training.teachers.step_plan import step_plan


def main() -> None:
    """Check everything, train, leave `output_dir/hub`."""
    config = parse_config()
    logging.disable_progress_bar()  # a bar for every checkpoint's single shard would drown ours
    run = RunFolder.open(config)
    accelerator = start(config)
    begun = run.as_begun(config)
    corpus = Corpus.open(begun.data.corpus)
    objective, processor = build(begun, accelerator, corpus)
    size = objective.view_size(config.student.image_size)
    views = TrainingViews(corpus, config.data, size, config.seed, objective.crops)
    held_out = held_out_views(corpus, config.data.held_out_frames, size, objective.crops)
    checkpoint = latest_checkpoint(run.checkpoints)
    if checkpoint is not None and step_of(checkpoint) > config.max_steps:
        raise UserError(f"max_steps={config.max_steps}, but the run in {config.output_dir!r} is at {checkpoint.name}")
    facts = objective.facts() | {"corpus.json": describe_corpus(corpus)}
    run.begin(config, facts, write=accelerator.is_main_process)
    print_banner(config, accelerator, objective, views)

    if checkpoint is None:
        calibrate(config, accelerator, objective, views)
    print_plan(config, accelerator, objective, views, checkpoint)
    average = MovingAverage(objective.student, config.ema_decay) if config.ema_decay else None
    optimizer = build_optimizer(objective, config.optimizer, objective.student.config.num_hidden_layers)
    if config.student.compile:
        objective.student.compile()
    model, optimizer = accelerator.prepare(objective, optimizer)
    trainer = Trainer(accelerator, accelerator.unwrap_model(model), optimizer, average)
    first_step, seconds = 0, 0.0
    if checkpoint is not None:
        first_step, seconds = restore_checkpoint(checkpoint, trainer)
        accelerator.print(f"resuming at step {first_step}")
    hooks = Hooks(config, run, trainer, held_out)
    hooks.begin(first_step, seconds)
    for step, parts in hooks.timed(step_batches(config, accelerator, objective, views, first_step)):
        rate = learning_rate(step, config.optimizer, config.schedule_steps, config.frames_per_step)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        losses, batch = backward(model, trainer, parts, hooks.meter)
        norm = accelerator.clip_grad_norm_(model.parameters(), config.optimizer.clip_norm or float("inf"))
        hooks.refuse_nonfinite(step, norm, losses, batch)
        optimizer.step()
        optimizer.zero_grad()
        objective.after_step(step + 1, config.schedule_steps)
        if average is not None:
            average.update(objective.student)
        hooks.after_step(step + 1, losses, norm)

    hooks.close()
    if accelerator.is_main_process:
        steps = config.max_steps
        summary = describe_run(config, objective, steps, hooks.seconds, run.logged(steps, "held_out"))
        hub = write_hub_folder(run, config, objective, processor, summary)
        print(f"finished {steps} steps; the model is in {hub}: AutoModel.from_pretrained({str(hub)!r})")


def step_batches(
    config: PretrainConfig, accelerator: Accelerator, objective: Objective, views: TrainingViews, first_step: int
) -> Iterator[tuple[int, list[ViewBatch]]]:
    """Each step from `first_step` on, and its parts for this process."""
    parts, resolutions = config.accumulate, config.resolutions
    batches = training_batches(
        views,
        first_step * parts,
        config.max_steps * parts,
        config.batch_size,
        accelerator.process_index,
        accelerator.num_processes,
        lambda part: objective.view_size(resolutions.at(part // parts)),
    )
    for step in range(first_step, config.max_steps):
        size = resolutions.at(step)
        yield step, [next(batches)._replace(image_size=size) for _ in range(parts)]


def backward(
    model: nn.Module, trainer: Trainer, parts: list[ViewBatch], meter: AgreementMeter
) -> tuple[dict[str, Tensor], ViewBatch]:
    """Gradients of the mean loss over the parts of a step; the mean of each named loss, and the last part."""
    accelerator, means = trainer.accelerator, dict[str, Tensor]()
    batch = parts[-1]
    for number, part in enumerate(parts, 1):
        batch = part.to(accelerator.device)
        with nullcontext() if number == len(parts) else accelerator.no_sync(model):
            losses = model(batch, trainer.objective.prepare(batch), meter)
            accelerator.backward(torch.stack(list(losses.values())).sum() / len(parts))
        for name, loss in losses.items():
            means[name] = means.get(name, torch.zeros_like(loss)) + loss.detach() / len(parts)
    return means, batch


def parse_config() -> PretrainConfig:
    """Settings from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", metavar="FILE", help="YAML recipe, see training/recipes")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="dotted settings that win over the recipe")
    arguments = parser.parse_args()
    return load_config(PretrainConfig, arguments.config, arguments.overrides)


def start(config: PretrainConfig) -> Accelerator:
    """The process group, checked against what was asked for: some launch flags silently start one process."""
    accelerator = Accelerator(
        mixed_precision=config.mixed_precision,
        log_with="tensorboard",
        project_dir=config.output_dir,
        # Buffers are the same on every process already; the normalisers' would be megabytes per step.
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )
    if accelerator.num_processes != config.num_processes:
        raise UserError(
            f"num_processes={config.num_processes} was asked for, but {accelerator.num_processes} process(es) run; "
            "start it with accelerate launch --multi_gpu --num_processes N (see training/accelerate) and set "
            "num_processes=N"
        )
    if config.ema_decay and accelerator.distributed_type == DistributedType.FSDP:
        raise UserError("ema_decay needs whole weights on every process: set it to 0 with FSDP, or use DDP")
    set_seed(config.seed)
    return accelerator


def build(config: PretrainConfig, accelerator: Accelerator, corpus: Corpus) -> tuple[Objective, ZenImageProcessor]:
    """Student and objective on the device, and the processor that travels with the student."""
    student, processor = build_student(config.student)  # first, so that all strategies begin with the same weights
    objective = build_objective(config, student, processor, corpus, accelerator.device)
    if isinstance(objective, DistillationObjective) and config.cache.folder is not None:
        objective.use_cache(open_cache(config, objective, corpus, accelerator.device))
    return objective, processor


def calibrate(config: PretrainConfig, accelerator: Accelerator, objective: Objective, views: TrainingViews) -> None:
    """Show the objective the first training views, each process its share."""
    if not objective.calibration_frames:
        return
    groups, processes = config.batch_size, accelerator.num_processes
    count = -(-objective.calibration_frames // (groups * config.data.frames_per_clip * processes))
    batches = training_batches(views, 0, count, groups, accelerator.process_index, processes)
    bar = tqdm(batches, "calibrating", total=count, unit="batch", disable=not accelerator.is_main_process)
    for batch in bar:
        batch = batch.to(accelerator.device)
        objective.observe(batch, objective.prepare(batch))
    objective.freeze()


def print_banner(config: PretrainConfig, accelerator: Accelerator, objective: Objective, views: TrainingViews) -> None:
    """What is about to run, before step 0."""
    student = objective.student
    counts, groups = views.corpus.count("train"), views.groups
    drawn = groups.draws * groups.size
    lines = [
        f"student   {config.student.init or f'zen-{config.student.size}'}, {count_parameters(student) / 1e6:.1f} M "
        f"parameters, {' / '.join(map(str, config.resolutions.sizes))} px; "
        f"heads {(count_parameters(objective) - count_parameters(student)) / 1e6:.1f} M",
        f"corpus    {counts.frames} training frames in {counts.clips} clips, {counts.cases} cases; "
        f"an epoch draws {drawn}"
        + (f", {groups.packed_share:.0%} of them alone, left over by their clips" if groups.packed_share else ""),
        *objective.banner(),
        f"steps     {config.max_steps} x {config.frames_per_step} frames, "
        f"{config.max_steps * config.frames_per_step / drawn:.1f} epochs, on {accelerator.device}"
        + (f" with {torch.get_num_threads()} of {os.cpu_count()} threads" if accelerator.device.type == "cpu" else ""),
        f"look at   tensorboard --logdir {config.output_dir}",
    ]
    accelerator.print("\n".join(lines))


def print_plan(
    config: PretrainConfig,
    accelerator: Accelerator,
    objective: Objective,
    views: TrainingViews,
    checkpoint: Path | None,
) -> None:
    """What a step of distillation will cost, measured on this machine by the main process; changes nothing."""
    if not (config.log.plan and isinstance(objective, DistillationObjective)):
        return
    if checkpoint is not None:
        restore_objective(checkpoint, objective)  # early, because losses need the normalisers
    if accelerator.is_main_process:
        print("\n".join(step_plan(objective, config, accelerator, views)))
    accelerator.wait_for_everyone()


if __name__ == "__main__":
    run_entry(main)

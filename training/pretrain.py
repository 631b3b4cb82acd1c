"""Pretrain a ZEN: `accelerate launch -m training.pretrain --config FILE [key=value ...]`; repeated, it resumes."""

import argparse
import os

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from tqdm import tqdm
from transformers.utils import logging

from modeling_zen import ZenImageProcessor, ZenModel
from training.checkpointing import latest_checkpoint, restore_checkpoint, step_of
from training.config import load_config
from training.corpus import Corpus
from training.errors import UserError, run_entry
from training.export import count_parameters, describe_corpus, describe_run, write_hub_folder
from training.hooks import Hooks
from training.loader import TrainingViews, held_out_views, training_batches
from training.objectives.distillation import DistillationObjective
from training.objectives.objective import Objective
from training.optimization import build_optimizer, learning_rate
from training.run_folder import RunFolder
from training.settings import PretrainConfig
from training.teachers import load_teacher


def main() -> None:
    """Check everything, train, leave `output_dir/hub`."""
    config = parse_config()
    logging.disable_progress_bar()  # a bar for every checkpoint's single shard would drown ours
    run = RunFolder.open(config)
    accelerator = start(config)
    corpus = Corpus.open(config.data.corpus)
    objective, processor = build(config, accelerator)
    size = objective.view_size(config.student.image_size)
    views = TrainingViews(corpus, config.data, size, config.seed, objective.crops)
    held_out = held_out_views(corpus, config.data.held_out_frames, size, objective.crops)
    optimizer = build_optimizer(objective, config.optimizer)
    checkpoint = latest_checkpoint(run.checkpoints)
    if checkpoint is not None and step_of(checkpoint) > config.max_steps:
        raise UserError(f"max_steps={config.max_steps}, but the run in {config.output_dir!r} is at {checkpoint.name}")
    run.begin(config, objective.facts() | {"corpus.json": describe_corpus(corpus)})
    print_banner(config, accelerator, objective, views)

    step, seconds = 0, 0.0
    if checkpoint is not None:
        step, seconds = restore_checkpoint(checkpoint, objective, optimizer)
        accelerator.print(f"resuming at step {step}")
    else:
        calibrate(config, accelerator, objective, views)
    model, optimizer = accelerator.prepare(objective, optimizer)
    hooks = Hooks(config, accelerator, run, objective, optimizer, held_out)
    hooks.begin(step, seconds)
    for batch in training_batches(
        views, step, config.max_steps, config.batch_size, accelerator.process_index, accelerator.num_processes
    ):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, config.optimizer, config.schedule_steps, config.frames_per_step)
        batch = batch.to(accelerator.device)
        losses = model(batch, objective.prepare(batch), hooks.meter)
        loss = torch.stack(list(losses.values())).sum()
        accelerator.backward(loss)
        norm = accelerator.clip_grad_norm_(model.parameters(), config.optimizer.clip_norm or float("inf"))
        hooks.refuse_nonfinite(step, loss, norm, losses, batch.images)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        objective.after_step(step, config.max_steps)
        hooks.after_step(step, loss, norm)

    hooks.close()
    if accelerator.is_main_process:
        summary = describe_run(config, objective, step, hooks.seconds, run.logged(step, "held_out"))
        hub = write_hub_folder(run, objective, processor, summary)
        print(f"finished {step} steps; the model is in {hub}: AutoModel.from_pretrained({str(hub)!r})")


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
        mixed_precision=config.mixed_precision, log_with="tensorboard", project_dir=config.output_dir
    )
    if accelerator.num_processes != config.num_processes:
        raise UserError(
            f"num_processes={config.num_processes} was asked for, but {accelerator.num_processes} process(es) run; "
            "start it with accelerate launch --multi_gpu --num_processes N and set num_processes=N"
        )
    set_seed(config.seed)
    return accelerator


def build(config: PretrainConfig, accelerator: Accelerator) -> tuple[Objective, ZenImageProcessor]:
    """Teachers, student and objective on the device, and the processor that travels with the student."""
    teachers = {
        name: load_teacher(each.repo, revision=each.revision, trust_remote_code=each.trust_remote_code)
        for name, each in config.teachers.items()
    }
    for teacher in teachers.values():
        teacher.to(accelerator.device)
    student = ZenModel(config.student.build())
    size = config.student.image_size
    processor = ZenImageProcessor(size={"height": size, "width": size})
    memory = round(config.data.target_memory_gb * 1e9) if config.data.views_per_frame else 0
    objective = DistillationObjective(
        student, processor, teachers, config.teachers, config.distillation, size, memory_bytes=memory
    )
    return objective.to(accelerator.device).train(), processor


def calibrate(config: PretrainConfig, accelerator: Accelerator, objective: Objective, views: TrainingViews) -> None:
    """Show the objective the first training views, the same ones on every process."""
    count = -(-objective.calibration_frames // (config.batch_size * config.data.frames_per_clip))
    batches = training_batches(views, 0, count, config.batch_size, rank=0, world_size=1)
    bar = tqdm(batches, "calibrating", total=count, unit="batch", disable=not accelerator.is_main_process)
    for batch in bar:
        batch = batch.to(accelerator.device)
        objective.observe(batch, objective.prepare(batch))
    objective.freeze()


def print_banner(config: PretrainConfig, accelerator: Accelerator, objective: Objective, views: TrainingViews) -> None:
    """What is about to run, before step 0."""
    counts, groups = views.corpus.count("train"), views.groups
    drawn = groups.draws * groups.size
    lines = [
        f"student   zen-{config.student.size}, {count_parameters(objective.student) / 1e6:.1f} M parameters, "
        f"{config.student.image_size} px; heads "
        f"{(count_parameters(objective) - count_parameters(objective.student)) / 1e6:.1f} M",
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


if __name__ == "__main__":
    run_entry(main)

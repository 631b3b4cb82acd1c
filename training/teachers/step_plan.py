"""The plan printed before step 0: what each teacher costs beside the student, the speed to expect, and the memory.

Memory is continued in a straight line from two batches, because all that a step keeps grows with the frames by equal
steps. The peak is the higher of two moments: a teacher's forward pass beside the targets of those before it, and the
student's backward pass beside all targets.
"""

import time
from dataclasses import dataclass, fields

import torch
from accelerate import Accelerator

from training.loader import TrainingViews, join_batches
from training.objectives.distillation import DistillationObjective
from training.settings import PretrainConfig
from training.teachers.cache.estimate import show_bytes
from training.teachers.step_costs import StepCosts, StepMeter

MIB = 2**20
# Frames that costs are measured on: about what fills the device, so that more would not be faster.
_FRAMES_ON_CPU, _FRAMES_ON_GPU = 8, 64


@dataclass(frozen=True)
class StepMemory:
    """Bytes of tensors on the device at the peak of a step, by what they are for."""

    weights: float  # student, heads, normalisers, moving average
    teachers: float  # weights of those that are on the device
    optimizer: float  # moments, and the buckets in which processes exchange gradients
    images: float  # of this step and of the last; on a CPU of the held-out frames too
    targets: float  # of this batch and of the held-out frames
    work: float  # activations and gradients, or what a teacher computes with

    @property
    def peak(self) -> float:
        """All together."""
        return sum(getattr(self, part.name) for part in fields(self))


def step_memory(costs: StepCosts, config: PretrainConfig) -> StepMemory:
    """Memory at the peak of a step of one process."""
    frames = config.batch_size * config.data.frames_per_clip
    cached = config.cache.folder is not None
    away = (cached or config.distillation.park_teachers) and not costs.on_cpu
    asking = 0.0 if cached else _peak_of_asking(costs, frames, config.distillation.teacher_chunk)
    targets = costs.target_bytes * frames
    learning = costs.learning_bytes(frames)
    learns_last = learning + targets >= asking
    earlier = costs.gradient_bytes if config.accumulate > 1 else 0  # of the parts before
    # A GPU gets one part after the other; on a CPU all of a step are there at once, and the held-out frames.
    kept = 2 * (config.accumulate if costs.on_cpu else 1) * frames + (
        config.data.held_out_frames if costs.on_cpu else 0
    )
    return StepMemory(
        weights=costs.weights_bytes + (costs.student_bytes if config.ema_decay else 0),
        teachers=0 if away else sum(teacher.weights_bytes for teacher in costs.teachers.values()),
        optimizer=costs.gradient_bytes * (3 if config.num_processes > 1 else 2),
        images=kept * costs.image_bytes,
        targets=costs.target_bytes * config.data.held_out_frames + (targets if learns_last else 0),
        work=earlier + (learning if learns_last else asking),
    )


def _peak_of_asking(costs: StepCosts, frames: int, chunk: int) -> float:
    """Most bytes alive while the teachers are asked one after the other, the targets so far included."""
    portion = min(frames, chunk or frames)
    peak = before = 0.0
    for teacher in costs.teachers.values():
        own = teacher.target_bytes
        # Portions are asked one after the other, and joined at the end.
        passing = teacher.passing.at(portion) + own * (frames - portion)
        peak = max(peak, before + max(passing, 2.0 * own * frames if portion < frames else 0.0))
        before += own * frames
    return peak


def measure_costs(objective: DistillationObjective, config: PretrainConfig, accelerator: Accelerator) -> StepCosts:
    """Costs of a step, on frames of a batch; see `StepMeter`.

    Args:
        objective: calibrated, on its device, not yet wrapped for training.
        config: of the run.
        accelerator: whose precision the forward pass has.
    """
    clip, frames = config.data.frames_per_clip, config.batch_size * config.data.frames_per_clip
    parked = config.distillation.park_teachers or config.cache.folder is not None
    meter = StepMeter(objective, config.distillation.teacher_chunk, parked, clip, accelerator.autocast)
    most = _FRAMES_ON_CPU if accelerator.device.type == "cpu" else _FRAMES_ON_GPU
    measured = max(min(frames, most) // clip, 1) * clip
    return meter.measure(config.student.image_size, max(config.resolutions.sizes), measured)


def step_plan(
    objective: DistillationObjective, config: PretrainConfig, accelerator: Accelerator, views: TrainingViews
) -> list[str]:
    """Measure a step and describe it in lines; arguments as for `measure_costs`, and the views that a cache holds."""
    costs = measure_costs(objective, config, accelerator)
    cached = config.cache.folder is not None
    reading = _seconds_of_reading(objective, views, config.batch_size, accelerator.device) if cached else None
    return [*_compute_lines(costs), _speed_line(costs, config, reading), _memory_line(costs, config)]


def _compute_lines(costs: StepCosts) -> list[str]:
    """A table: parameters, weights, time and share of every network."""
    student = costs.student_seconds_per_frame
    total = student + costs.teachers_seconds_per_frame
    rows = [(f"compute   on {costs.frames} frames", "parameters", "weights", "ms/frame", "share")]
    for name, teacher in costs.teachers.items():
        rows.append(_row(name, teacher.parameters, teacher.weights_bytes, teacher.seconds_per_frame, total))
    trained = costs.gradient_bytes // 4
    rows.append(_row("student, heads: forward, backward", trained, costs.gradient_bytes, student, total))
    width = max(len(row[0]) for row in rows)
    return [f"{row[0]:<{width}}  {row[1]:>10}  {row[2]:>10}  {row[3]:>8}  {row[4]:>5}" for row in rows]


def _row(name: str, parameters: int, weights: int, seconds: float, total: float) -> tuple[str, str, str, str, str]:
    return (
        f"          {name}",
        f"{parameters / 1e6:.1f} M",
        f"{weights / MIB:.1f} MiB",
        f"{1000 * seconds:.2f}",
        f"{seconds / total:.1%}",
    )


def _speed_line(costs: StepCosts, config: PretrainConfig, reading: float | None) -> str:
    """Frames per second of all processes, with live teachers and with cached targets."""
    student, processes = costs.student_seconds_per_frame, config.num_processes
    live = processes / (student + costs.teachers_seconds_per_frame)
    if reading is not None:
        return (
            f"expected  {processes / (student + reading):.1f} frames/s from the cache, which takes "
            f"{1000 * reading:.2f} ms/frame to read; {live:.1f} with live teachers"
        )
    halved = costs.target_bytes / 2
    return (
        f"expected  at most {live:.1f} frames/s with live teachers, {processes / student:.1f} where targets are cached "
        f"or remembered; in fp16 they take {show_bytes(halved)} per frame and view, so a disk must give "
        f"{show_bytes(halved * processes / student)}/s"
    )


def _memory_line(costs: StepCosts, config: PretrainConfig) -> str:
    """The peak, and what it is made of."""
    memory = step_memory(costs, config)
    frames = config.batch_size * config.data.frames_per_clip
    parts = [f"{part.name} {getattr(memory, part.name) / MIB:.0f}" for part in fields(memory)]
    remembers = config.data.views_per_frame and config.cache.folder is None
    return (
        f"memory    {memory.peak / MIB:.0f} MiB of tensors at the peak of a step of {frames} frames at "
        f"{max(config.resolutions.sizes)} px: {', '.join(parts)}"
        + (f"; remembered targets take up to {config.data.target_memory_gb:g} GB of main memory" if remembers else "")
    )


def _seconds_of_reading(
    objective: DistillationObjective, views: TrainingViews, groups: int, device: torch.device
) -> float:
    """Seconds per frame that the cache takes for the first views of the run."""
    batch = join_batches([views[sample] for sample in range(groups)]).to(device)
    started = time.perf_counter()
    objective.prepare(batch)
    return (time.perf_counter() - started) / len(batch.images)

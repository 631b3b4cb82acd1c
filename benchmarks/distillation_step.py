"""Cost of a distillation step against its parts alone: the teachers' forward pass, the student's forward and backward.

    python -m benchmarks.distillation_step TEACHER... [--size nano] [--image-size 112] [--batch 16] [--rounds 10]
        [--head-width 512] [--input-size 160]

TEACHERs are folders or names, such as those of `python -m training.teachers prepare`. All candidates take turns in one
process on the same images:

- teachers: their forward pass on the batch, as the run does it
- student: forward and backward of the student alone, the loss the sum of squares of its tokens
- heads: forward and backward of heads and losses alone, on the student's tokens
- step: everything, with gradient clipping and the optimiser
- cached: the step with targets that are there already

"step" is compared with teachers + student (aim: at most 1.05) and with teachers + student + heads, "cached" with the
student (aim: at most 1.10) and with student + heads.
"""

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.timing import show_ratio, take_turns
from modeling_zen import ZenConfig, ZenImageProcessor, ZenModel
from training.loader import ViewBatch
from training.objectives.distillation import DistillationObjective
from training.objectives.distillation_settings import DistillationConfig, TeacherConfig
from training.optimization import OptimizerConfig, build_optimizer
from training.teachers import load_teacher
from training.views import all_valid


def build(arguments: argparse.Namespace) -> tuple[DistillationObjective, ViewBatch]:
    """A calibrated objective and a batch of smooth random images."""
    torch.manual_seed(0)
    size = arguments.image_size
    student = ZenModel(ZenConfig.from_size(arguments.size, image_size=size)).train()
    teachers = {f"teacher{number}": load_teacher(name) for number, name in enumerate(arguments.teachers)}
    configs = {name: TeacherConfig(repo="", input_size=arguments.input_size) for name in teachers}
    config = DistillationConfig(head_width=arguments.head_width, calibration_frames=640)
    objective = DistillationObjective(student, ZenImageProcessor(), teachers, configs, config, size)
    edge = objective.view_size(size)
    batches = [make_batch(arguments.batch, edge, number) for number in range(-(-640 // arguments.batch))]
    objective.calibrate(batches)
    return objective, batches[0]


def make_batch(count: int, edge: int, seed: int) -> ViewBatch:
    """Smooth random views."""
    coarse = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    images = torch.nn.functional.interpolate(coarse, size=(edge, edge), mode="bilinear")
    numbers, zeros = torch.arange(count), torch.zeros(count, dtype=torch.int64)
    return ViewBatch(images, numbers, all_valid(count, edge), zeros, zeros, zeros, numbers)


def candidates(objective: DistillationObjective, batch: ViewBatch) -> dict[str, Callable[[], Any]]:
    """What takes turns."""
    student, size = objective.student, objective.image_size
    optimizer = build_optimizer(objective, OptimizerConfig(lr=1e-6), student.config.num_hidden_layers)
    targets = objective.prepare(batch)
    pixels = objective.pixels(batch.images, size)
    with torch.no_grad():
        output = student(pixel_values=pixels)

    def student_alone() -> None:
        student(pixel_values=pixels).last_hidden_state.square().mean().backward()

    class Frozen(torch.nn.Module):
        """The student's tokens without the student."""

        config = student.config
        dense_tokens = staticmethod(student.dense_tokens)
        summary_tokens = staticmethod(student.summary_tokens)

        def forward(self, pixel_values: Tensor) -> Any:
            hidden = output.last_hidden_state.clone().requires_grad_()
            return type(output)(last_hidden_state=hidden, pooler_output=hidden[:, 0])

    def heads_alone() -> None:
        objective._modules["student"] = Frozen()
        torch.stack(list(objective(batch, targets).values())).sum().backward()
        objective._modules["student"] = student

    def step(known: Any = None) -> None:
        losses = objective(batch, objective.prepare(batch) if known is None else known)
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return {
        "teachers": lambda: objective.prepare(batch),
        "student": student_alone,
        "heads": heads_alone,
        "step": step,
        "cached": lambda: step(targets),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teachers", nargs="+")
    parser.add_argument("--size", default="nano")
    parser.add_argument("--image-size", type=int, default=112)
    parser.add_argument("--input-size", type=int, default=160)
    parser.add_argument("--head-width", type=int, default=512)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    objective, batch = build(arguments)
    named = candidates(objective, batch)
    seconds = take_turns(named, rounds=arguments.rounds)
    print("| " + " | ".join(named) + " | " + " | ".join(COMPARED) + " |")
    print("|" + "---:|" * (len(named) + len(COMPARED)))
    times = [f"{1000 * statistics.median(each):.0f} ms" for each in seconds.values()]
    ratios = []
    for label in COMPARED:
        own, parts = label.split(" / ")
        each = [
            seconds[own][turn] / sum(seconds[part][turn] for part in parts.strip("()").split(" + "))
            for turn in range(arguments.rounds)
        ]
        low, middle, high = statistics.quantiles(each, n=4)
        ratios.append(show_ratio((middle, low, high)))
    print("| " + " | ".join(times + ratios) + " |")


COMPARED = (
    "step / (teachers + student)",
    "step / (teachers + student + heads)",
    "cached / student",
    "cached / (student + heads)",
)

if __name__ == "__main__":
    main()

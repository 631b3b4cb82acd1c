import re
from dataclasses import replace
from typing import Any

import pytest

from training.loader import DataConfig
from training.objectives.distillation_settings import DistillationConfig, TeacherConfig
from training.settings import PretrainConfig
from training.teachers.cache.settings import CacheConfig
from training.teachers.step_costs import Line, StepCosts, TeacherCost
from training.teachers.step_plan import _compute_lines, _memory_line, _speed_line, step_memory

# Two teachers; bytes are small whole numbers, so that every sum can be done in the head.
COSTS = StepCosts(
    frames=8,
    on_cpu=False,
    teachers={
        "a": TeacherCost(2_000_000, 700, 0.003, target_bytes=5, passing=Line(10, 100)),
        "b": TeacherCost(1_000_000, 300, 0.001, target_bytes=2, passing=Line(20, 40)),
    },
    student_seconds_per_frame=0.004,
    forward=Line(0, 1),
    backward=Line(1000, 60),
    weights_bytes=500,
    student_bytes=400,
    gradient_bytes=450,
    image_bytes=12,
)


def config(
    distillation: dict[str, Any] | None = None, data: dict[str, Any] | None = None, **more: Any
) -> PretrainConfig:
    """Ten frames a step: five groups of two; held out are three frames."""
    return PretrainConfig(
        output_dir="x",
        batch_size=5,
        data=DataConfig(corpus="x", frames_per_clip=2, held_out_frames=3, **(data or {})),
        teachers={"a": TeacherConfig(repo="x"), "b": TeacherConfig(repo="x")},
        distillation=DistillationConfig(**(distillation or {})),
        **more,
    )


def test_memory_of_a_plain_step() -> None:
    memory = step_memory(COSTS, config())
    assert (memory.weights, memory.teachers, memory.optimizer, memory.images) == (500, 1000, 900, 2 * 12 * 10)
    # The student's pass takes 1600 beside 70 bytes of targets; the first teacher's would take 1010.
    assert (memory.work, memory.targets) == (1600, 70 + 7 * 3)
    assert memory.peak == 500 + 1000 + 900 + 240 + 1600 + 91


def test_memory_where_a_teacher_needs_most() -> None:
    hungry = replace(COSTS, backward=Line(0, 60))
    memory = step_memory(hungry, config())
    assert (memory.work, memory.targets) == (1010, 7 * 3)
    # In portions of 2: 10 + 2 x 100, beside what it said of the other 8 frames; then the student needs more.
    assert step_memory(hungry, config({"teacher_chunk": 2})).work == 600
    # Many frames are limited by their activations.
    assert step_memory(replace(hungry, forward=Line(0, 200)), config()).work == 2000
    # The second teacher comes after the first one's 50 bytes.
    slow = replace(COSTS.teachers["b"], passing=Line(0, 200))
    second = replace(hungry, backward=Line(0, 1), teachers={**COSTS.teachers, "b": slow})
    assert step_memory(second, config()).work == 50 + 2000
    # Portions of it: 400 + 2 x 8 beside 50.
    assert step_memory(second, config({"teacher_chunk": 2})).work == 50 + 400 + 16


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        ({"distillation": {"park_teachers": True}}, {"teachers": 0}),
        ({"cache": CacheConfig(folder="x"), "data": {"views_per_frame": 1}}, {"teachers": 0}),
        ({"ema_decay": 0.9}, {"weights": 900}),
        ({"num_processes": 2}, {"optimizer": 1350}),
        ({"accumulate": 4}, {"work": 1600 + 450}),
    ],
)
def test_what_a_setting_changes(words: dict[str, Any], changed: dict[str, float]) -> None:
    assert step_memory(COSTS, config(**words)) == replace(step_memory(COSTS, config()), **changed)


def test_on_a_cpu_parked_teachers_and_all_parts_lie_in_the_same_memory() -> None:
    memory = step_memory(replace(COSTS, on_cpu=True), config({"park_teachers": True}, accumulate=3))
    assert (memory.teachers, memory.images) == (1000, 12 * (2 * 3 * 10 + 3))


def test_a_cached_step_never_waits_for_a_teacher() -> None:
    cached = config(cache=CacheConfig(folder="x"), data={"views_per_frame": 1})
    assert step_memory(replace(COSTS, backward=Line(0, 1)), cached).work == 10


def test_shares_are_of_all_the_time() -> None:
    lines = _compute_lines(COSTS)
    assert "on 8 frames" in lines[0]
    assert [line.split()[0] for line in lines[1:]] == ["a", "b", "student,"]
    shares = [float(re.findall(r"([\d.]+)%", line)[0]) for line in lines[1:]]
    assert shares == [37.5, 12.5, 50]
    assert "2.0 M" in lines[1]
    assert "3.00" in lines[1]


def test_speed_with_live_and_with_cached_teachers() -> None:
    live = _speed_line(COSTS, config(num_processes=2), None)
    assert "at most 250.0 frames/s with live teachers, 500.0 where targets are cached or remembered" in live
    assert live.endswith("in fp16 they take 3.5 B per frame and view, so a disk must give 1.75 kB/s")
    assert _speed_line(COSTS, config(), 0.001) == (
        "expected  200.0 frames/s from the cache, which takes 1.00 ms/frame to read; 125.0 with live teachers"
    )


def test_the_memory_line_names_every_part() -> None:
    large = replace(COSTS, weights_bytes=3 * 2**20)
    line = _memory_line(large, config(data={"views_per_frame": 2}))
    assert line.startswith(
        "memory    3 MiB of tensors at the peak of a step of 10 frames at 224 px: weights 3, teachers 0"
    )
    assert line.endswith("work 0; remembered targets take up to 2 GB of main memory")

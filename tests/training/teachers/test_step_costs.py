from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from modeling_zen import ZenConfig, ZenImageProcessor, ZenModel
from training.loader import ViewBatch
from training.objectives.distillation import DistillationObjective
from training.objectives.distillation_settings import DistillationConfig, TeacherConfig
from training.teachers import load_teacher
from training.teachers.step_costs import Line, StepCosts, StepMeter
from training.views import all_valid

SIZE = 64  # of the student, whose 4 x 4 grid both teachers share


@pytest.fixture(scope="module")
def objective(tiny_teachers: dict[str, Path]) -> DistillationObjective:
    torch.manual_seed(0)
    config = ZenConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, drop_path_rate=0.2)
    objective = DistillationObjective(
        ZenModel(config).train(),
        ZenImageProcessor(),
        {name: load_teacher(str(folder)) for name, folder in tiny_teachers.items()},
        {name: TeacherConfig(repo=str(folder)) for name, folder in tiny_teachers.items()},
        DistillationConfig(head_width=32, calibration_frames=64),
        image_size=SIZE,
    )
    coarse = torch.rand(64, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    images = torch.nn.functional.interpolate(coarse, size=(128, 128), mode="bilinear")
    numbers, zeros = torch.arange(64), torch.zeros(64, dtype=torch.int64)
    objective.calibrate([ViewBatch(images, numbers, all_valid(64, 128), zeros, zeros, zeros, numbers)])
    return objective


def meter_of(objective: DistillationObjective, chunk: int = 0) -> StepMeter:
    return StepMeter(objective, chunk, False, 2, nullcontext)


@pytest.fixture(scope="module")
def costs(objective: DistillationObjective) -> StepCosts:
    return meter_of(objective).measure(SIZE, SIZE, 8)


def test_a_line_goes_through_what_was_measured() -> None:
    measured = {3: 19.0, 6: 31.0}
    line = Line.through(measured.__getitem__, 3)
    assert (line.fixed, line.per_frame) == (7, 4)
    assert [line.at(frames) for frames in (3, 6, 10)] == [19, 31, 47]


def test_what_can_be_counted_by_hand(costs: StepCosts, objective: DistillationObjective) -> None:
    # A summary and 4 x 4 dense tokens, of width 16 and 20, in float32; views of 128 px, which the CNN wants.
    assert {name: teacher.target_bytes for name, teacher in costs.teachers.items()} == {
        "vit": 4 * 16 * (1 + 16),
        "cnn": 4 * 20 * (1 + 16),
    }
    assert costs.target_bytes == 4 * 36 * 17
    assert costs.image_bytes == 4 * 3 * 128 * 128
    trained = sum(parameter.numel() for parameter in objective.parameters())
    assert costs.gradient_bytes == 4 * trained
    assert costs.student_bytes == 4 * sum(parameter.numel() for parameter in objective.student.parameters())
    assert costs.weights_bytes > costs.gradient_bytes  # normalisers
    for name, teacher in objective.teachers.items():
        assert costs.teachers[name].parameters == teacher.num_parameters
        assert costs.teachers[name].weights_bytes == teacher.num_bytes
        assert costs.teachers[name].seconds_per_frame > 0
        # What it says is alive at the end of its pass.
        assert costs.teachers[name].passing.per_frame > costs.teachers[name].target_bytes
    assert costs.student_seconds_per_frame > 0
    assert costs.frames == 8
    assert costs.on_cpu


def test_the_line_foretells_larger_batches(costs: StepCosts, objective: DistillationObjective) -> None:
    meter = meter_of(objective)
    for frames in (16, 32):
        assert costs.learning_bytes(frames) == pytest.approx(meter._peak_of_learning(SIZE, True, frames), rel=0.1)
        for name, teacher in costs.teachers.items():
            measured = meter._peak_of_asking(name, SIZE, frames)
            assert teacher.passing.at(frames) == pytest.approx(measured, rel=0.1)
    objective.zero_grad()


def test_a_portion_costs_the_same_in_portions(costs: StepCosts, objective: DistillationObjective) -> None:
    """What a teacher needs for so many frames does not depend on the portions of the run."""
    apart = meter_of(objective, chunk=1).measure(SIZE, SIZE, 8)
    assert {name: teacher.passing for name, teacher in apart.teachers.items()} == {
        name: teacher.passing for name, teacher in costs.teachers.items()
    }


def test_measuring_leaves_no_trace(objective: DistillationObjective, as_batch: Callable[..., ViewBatch]) -> None:
    batch = as_batch(torch.rand(2, 3, 128, 128))
    objective(batch)  # so that buffers that follow the batches hold something
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    generator = torch.get_rng_state()
    meter_of(objective).measure(SIZE, SIZE, 4)
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(value, before[name]) for name, value in objective.state_dict().items())
    assert all(parameter.grad is None for parameter in objective.parameters())
    assert objective.training

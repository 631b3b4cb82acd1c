from pathlib import Path

import pytest
from transformers import SiglipImageProcessor, SiglipVisionConfig, SiglipVisionModel

from training.errors import UserError
from training.objectives.distillation_settings import TeacherConfig
from training.objectives.plan import plan_teacher
from training.teachers import Teacher, load_teacher


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    """A teacher that takes 32 px inputs only: 4 x 4 cells of 8 px."""
    folder = tmp_path_factory.mktemp("teachers") / "fixed"
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    SiglipVisionModel(SiglipVisionConfig(**sizes, image_size=32, patch_size=8)).save_pretrained(folder)
    SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return load_teacher(str(folder))


def plan(teacher: Teacher, image_size: int, **settings: int) -> tuple[int, int]:
    config = TeacherConfig(repo="", **settings)
    return plan_teacher("expert", teacher, config, 64, image_size, 16).input_size


def test_a_teacher_of_one_size_names_the_student_it_fits(fixed: Teacher) -> None:
    assert plan(fixed, 64) == (32, 32)
    message = (
        "teacher 'expert' has no input whose grid is that of the student at 96 px: the nearest are its inputs of 32 "
        "px, for a student at 64 px; change student.image_size or stages, or set teachers.expert.input_size"
    )
    with pytest.raises(UserError, match=message):
        plan(fixed, 96)
    assert plan(fixed, 96, input_size=32) == (32, 32)


@pytest.mark.parametrize(
    ("image_size", "message"),
    # An unregistered teacher takes 2 to 128 cells: students of 32 to 2048 px.
    [(16, "inputs of 16 and 24 px, for a student at 32 and 48 px"), (4096, "1016 and 1024 px, .* 2032 and 2048 px")],
)
def test_sizes_out_of_a_teachers_range_name_the_nearest(
    tiny_teachers: dict[str, Path], image_size: int, message: str
) -> None:
    teacher = load_teacher(str(tiny_teachers["vit"]))
    with pytest.raises(UserError, match=message):
        plan(teacher, image_size)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"dtype": "fp16"}, "teachers.\\*.dtype must be auto, float32 or bfloat16, got 'fp16'")],
)
def test_settings_of_a_teacher_are_checked(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        TeacherConfig(repo="x", **settings)

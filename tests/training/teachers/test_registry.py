import pytest

from training.errors import UserError
from training.teachers import TEACHERS, load_teacher
from training.teachers.registry import find_spec


@pytest.mark.parametrize("name", TEACHERS.names())
def test_every_entry_can_be_planned_with(name: str) -> None:
    spec = TEACHERS.get(name)
    assert spec.name == name
    assert spec.licence
    assert spec.source.endswith(spec.repo)
    # Every teacher takes some square input, and that input's grid leads back to it.
    size = spec.fixed_size or (spec.smallest, spec.smallest)
    assert spec.input_size_for_grid(*spec.grid(size)) == size


@pytest.mark.parametrize("name", TEACHERS.names())
def test_entries_are_found_by_hub_id_too(name: str) -> None:
    assert find_spec(TEACHERS.get(name).repo) is TEACHERS.get(name)
    assert find_spec(name) is TEACHERS.get(name)


def test_the_usual_teachers_are_there() -> None:
    expected = {f"dinov{v}-{size}" for v in (2, 3) for size in ("small", "base", "large")}
    assert expected | {"siglip2-base", "siglip2-so400m", "endovit"} <= set(TEACHERS.names())
    assert TEACHERS.get("dinov3-small").repo == "facebook/dinov3-vits16-pretrain-lvd1689m"


def test_the_student_grid_of_14_is_reached_by_the_default_teachers() -> None:
    assert TEACHERS.get("dinov2-small").input_size_for_grid(14, 14) == (196, 196)
    assert TEACHERS.get("dinov3-small").input_size_for_grid(14, 14) == (224, 224)
    assert TEACHERS.get("siglip2-base").input_size_for_grid(14, 14) == (224, 224)


def test_unknown_names_list_the_right_ones() -> None:
    with pytest.raises(
        UserError, match=r"unknown teacher 'dinov2-smal'. Did you mean 'dinov2-small'\? Known: .*endovit"
    ):
        load_teacher("dinov2-smal")


@pytest.mark.parametrize("name", ["endovit", "egeozsoy/EndoViT"])
def test_a_documented_but_unloadable_teacher_says_what_to_convert(name: str) -> None:
    with pytest.raises(UserError, match=r"'endovit' .* cannot be loaded: .*convert the encoder tensors"):
        load_teacher(name)

import dataclasses
from typing import Any

import pytest

from training.errors import UserError
from training.teachers.spec import TeacherSpec

FIELDS: dict[str, Any] = {
    "name": "t",
    "repo": "org/t",
    "kind": "tokens",
    "summary": "pooler",
    "dense": True,
    "patch_size": 14,
    "min_size": 100,
    "max_size": 300,
    "size_multiple": 14,
    "roles": ("summary", "dense"),
    "licence": "apache-2.0",
    "source": "here",
}


def spec(**differences: Any) -> TeacherSpec:
    return TeacherSpec(**{**FIELDS, **differences})


def test_the_range_is_rounded_to_legal_sizes() -> None:
    assert (spec().smallest, spec().largest) == (112, 294)


@pytest.mark.parametrize("size", [(112, 112), (196, 224), (294, 112)])
def test_legal_sizes_pass_and_give_their_grid(size: tuple[int, int]) -> None:
    assert spec().grid(size) == (size[0] // 14, size[1] // 14)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((200, 224), "height 200 .*multiples of 14 from 112 to 294.* two nearest legal sizes are 196 and 210"),
        ((224, 225), "width 225 .*224 and 238"),
        ((98, 224), "height 98 .*112 and 126"),
        ((13, 224), "height 13 .*112 and 126"),
        ((224, 308), "width 308 .*280 and 294"),
        ((224, 5000), "width 5000 .*280 and 294"),
        ((0, 224), "height 0 .*112 and 126"),
    ],
)
def test_an_illegal_size_names_the_two_nearest_legal_ones(size: tuple[int, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        spec().check_size(size)


def test_a_fixed_size_is_the_only_legal_one() -> None:
    fixed = spec(patch_size=16, size_multiple=16, fixed_size=(224, 224), min_size=1, max_size=500)
    assert fixed.grid((224, 224)) == (14, 14)
    assert fixed.input_size_for_grid(14, 14) == (224, 224)
    with pytest.raises(UserError, match=r"takes only inputs of 224x224 .* a 14x14 grid, not 240x224"):
        fixed.check_size((240, 224))
    with pytest.raises(UserError, match="cannot give a 7x7 grid: it takes only inputs of 224x224, a 14x14 grid"):
        fixed.input_size_for_grid(7, 7)


def test_input_size_for_grid_is_the_inverse_of_grid() -> None:
    assert spec().input_size_for_grid(8, 21) == (112, 294)
    assert spec().grid(spec().input_size_for_grid(14, 10)) == (14, 10)


def test_a_grid_out_of_range_names_the_nearest_ones() -> None:
    with pytest.raises(UserError, match=r"grid of 7 rows .*nearest are 8 and 9 rows, at 112 and 126 pixels"):
        spec().input_size_for_grid(7, 14)
    with pytest.raises(UserError, match=r"grid of 22 columns .*nearest are 20 and 21 columns, at 280 and 294 pixels"):
        spec().input_size_for_grid(14, 22)


def test_a_coarser_multiple_than_the_patch_leaves_some_grids_out() -> None:
    coarse = spec(patch_size=16, size_multiple=32, min_size=32, max_size=320)
    assert coarse.input_size_for_grid(14, 14) == (224, 224)
    with pytest.raises(UserError, match=r"grid of 7 rows .*nearest are 6 and 8 rows, at 96 and 128 pixels"):
        coarse.input_size_for_grid(7, 14)


def test_json_round_trip() -> None:
    for original in (spec(), spec(fixed_size=(28, 42), num_prefix_tokens=5, summary="first_token")):
        assert TeacherSpec.from_dict(original.to_dict(), "x.json") == original


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patchsize": 3}, "x.json: unknown spec fields patchsize; known are .*patch_size"),
        ({"kind": "grid"}, "x.json: .*kind='grid' is none of tokens, map"),
        ({"fixed_size": [224]}, "x.json: the teacher spec is not usable"),
    ],
)
def test_json_mistakes_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TeacherSpec.from_dict({**spec().to_dict(), **change}, "x.json")


def test_json_with_a_missing_field() -> None:
    plain = spec().to_dict()
    del plain["patch_size"]
    with pytest.raises(UserError, match=r"x.json: .*patch_size"):
        TeacherSpec.from_dict(plain, "x.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"summary": "cls"}, "summary='cls' is none of pooler, first_token, mean, none"),
        ({"dense": False}, r"roles=\('summary', 'dense'\) but its outputs allow only \('summary',\)"),
        ({"roles": ()}, r"roles=\(\)"),
        ({"kind": "map", "num_prefix_tokens": 1}, "a feature map has no prefix tokens"),
        ({"dense_layer": 3}, "only a feature map can come from another layer"),
        ({"summary": "first_token"}, "needs num_prefix_tokens >= 1"),
        ({"size_multiple": 16}, "size_multiple=16 a multiple of patch_size=14"),
        ({"min_size": 113, "max_size": 125}, "no multiple of 14 lies between"),
        ({"fixed_size": (224, 225)}, "is no multiple of the patch"),
        ({"tubelet_size": 2}, "kind='tokens' and tubelet_size=2 contradict each other"),
        ({"kind": "video", "summary": "mean"}, "kind='video' and tubelet_size=0 contradict each other"),
        ({"kind": "video", "tubelet_size": 2}, "its summary is 'mean' or 'none'"),
        ({"kind": "video", "tubelet_size": 2, "summary": "mean", "num_prefix_tokens": 1}, "has no prefix tokens"),
    ],
)
def test_contradictions_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spec(**change)


def test_specs_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec().patch_size = 16  # type: ignore[misc]

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from training.teachers import Teacher, load_teacher
from training.teachers.ensemble import TeacherEnsemble, portions

GetFolder = Callable[[str], Path]
SIZES = {"dinov2": (28, 42), "timm-cnn": (64, 96), "vjepa2": (32, 32)}


@pytest.fixture(scope="module")
def teachers(model_folder: GetFolder) -> dict[str, Teacher]:
    return {name: load_teacher(str(model_folder(name))) for name in SIZES}


@pytest.mark.parametrize(
    ("count", "chunk", "shared", "expected"),
    [
        (5, 0, None, [((0, 5), 1)]),
        (5, 2, None, [((0, 2), 1), ((2, 4), 1), ((4, 5), 1)]),
        (5, 9, None, [((0, 5), 1)]),
        (0, 3, None, []),
        # clips of two, then a still, then a clip of two: three lengths in a row
        (7, 0, [8, 8, 3, 3, 5, 1, 1], [((0, 4), 2), ((4, 5), 1), ((5, 7), 2)]),
        # clips are not cut: three images hold one clip of two, one image holds it too
        (6, 3, [8, 8, 3, 3, 1, 1], [((0, 2), 2), ((2, 4), 2), ((4, 6), 2)]),
        (4, 1, [8, 8, 3, 3], [((0, 2), 2), ((2, 4), 2)]),
        (6, 4, [8, 8, 3, 3, 1, 1], [((0, 4), 2), ((4, 6), 2)]),
    ],
)
def test_portions(count: int, chunk: int, shared: list[int] | None, expected: list) -> None:
    found = portions(count, chunk, None if shared is None else torch.tensor(shared))
    assert [((rows.start, rows.stop), frames) for rows, frames in found] == expected


def ask(teachers: dict[str, Teacher], images: Tensor, shared: Tensor | None = None, **settings: Any) -> dict[str, Any]:
    ensemble = TeacherEnsemble(teachers, **settings)
    return {name: ensemble.ask(name, images, SIZES[name], shared) for name in teachers}


@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_chunks_change_nothing(teachers: dict[str, Teacher], chunk: int) -> None:
    images, shared = torch.rand(5, 3, 64, 96), torch.tensor([7, 7, 1, 1, 4])
    whole, parts = ask(teachers, images, shared), ask(teachers, images, shared, chunk=chunk)
    for name, output in whole.items():
        torch.testing.assert_close(parts[name].summary, output.summary, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(parts[name].dense, output.dense, rtol=1e-4, atol=1e-5)


def test_a_chunk_is_what_a_teacher_is_shown(teachers: dict[str, Teacher], monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[str, int, int]] = []
    honest = Teacher.forward

    def forward(self: Teacher, images: Tensor, size: tuple[int, int], frames: int) -> object:
        shown.append((self.spec.name, len(images), frames))
        return honest(self, images, size, frames)

    monkeypatch.setattr(Teacher, "forward", forward)
    ask(teachers, torch.rand(4, 3, 32, 32), torch.tensor([5, 5, 6, 6]), chunk=3)
    for name in ("dinov2", "timm-cnn"):
        assert [each[1:] for each in shown if each[0] == name] == [(3, 1), (1, 1)]
    assert [each[1:] for each in shown if each[0] == "vjepa2"] == [(2, 2), (2, 2)]


def test_parked_teachers_answer_the_same_and_rest_between_uses(
    teachers: dict[str, Teacher], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.rand(2, 3, 64, 64)
    expected = ask(teachers, images)
    weights = {name: [id(part) for part in each._hidden[0].parameters()] for name, each in teachers.items()}
    pointers = {name: [part.data_ptr() for part in each._hidden[0].parameters()] for name, each in teachers.items()}
    away: list[set[str]] = []
    honest = torch.Tensor.to

    def copy(tensor: Tensor, *arguments: object, **keywords: object) -> Tensor:
        # Another device's copy, as far as a CPU can tell: memory of its own.
        moved = honest(tensor, *arguments, **keywords)
        return moved.clone() if keywords.get("non_blocking") else moved

    def forward(self: Teacher, *arguments: object, **keywords: object) -> object:
        away.append(
            {
                name
                for name, each in teachers.items()
                if [p.data_ptr() for p in each._hidden[0].parameters()] != pointers[name]
            }
        )
        return answer(self, *arguments, **keywords)

    answer = Teacher.forward
    monkeypatch.setattr(torch.Tensor, "to", copy)
    monkeypatch.setattr(Teacher, "forward", forward)
    found = ask(teachers, images, park=True)
    assert away == [{name} for name in SIZES]
    for name, output in expected.items():
        assert torch.equal(found[name].summary, output.summary)
        assert torch.equal(found[name].dense, output.dense)
        parameters = list(teachers[name]._hidden[0].parameters())
        assert [id(part) for part in parameters] == weights[name]
        assert [part.data_ptr() for part in parameters] == pointers[name]


def test_a_parked_teacher_rests_again_after_an_error(teachers: dict[str, Teacher]) -> None:
    teacher = teachers["dinov2"]
    before = [part.data_ptr() for part in teacher._hidden[0].parameters()]
    with pytest.raises(ValueError, match="takes float images"), teacher.lent_to(torch.device("cpu")):
        teacher(torch.zeros(1, 3, 28, 28, dtype=torch.uint8))
    assert [part.data_ptr() for part in teacher._hidden[0].parameters()] == before

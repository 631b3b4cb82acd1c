import torch

from training.target_memory import TargetMemory
from training.teachers.teacher import TeacherOutput


class CountingTeachers:
    """One teacher with both kinds of tokens, one with dense tokens only; counts how often they are asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, images: torch.Tensor, image_size: int) -> dict[str, TeacherOutput]:
        self.calls += 1
        dense = images[:, :2] * 3.3
        return {
            "both": TeacherOutput(summary=images.mean(dim=(2, 3)), dense=dense),
            "dense_only": TeacherOutput(summary=None, dense=dense + 1),
        }


def equal(a: TeacherOutput, b: TeacherOutput) -> bool:
    pairs = ((a.summary, b.summary), (a.dense, b.dense))
    return all(x is y is None or torch.equal(x, y) for x, y in pairs)


def test_remembered_answers_equal_first_ones_in_any_order() -> None:
    teachers = CountingTeachers()
    memory = TargetMemory(teachers, 10_000)
    images = torch.rand(4, 3, 5, 5)
    first = memory(images, torch.arange(4), 32)
    order = torch.tensor([2, 0, 3, 1])
    again = memory(images[order], order, 32)
    assert teachers.calls == 1
    assert len(memory) == 4
    for name, output in first.items():
        assert output.dense is not None
        assert output.dense.dtype == torch.float32
        summary = None if output.summary is None else output.summary[order]
        assert equal(again[name], TeacherOutput(summary=summary, dense=output.dense[order]))


def test_what_does_not_fit_is_asked_again_with_equal_answers() -> None:
    # A row takes 2 bytes x (3 summary + 2 x 50 dense values) = 206 bytes: two of them fit.
    teachers = CountingTeachers()
    small, large = TargetMemory(teachers, 420), TargetMemory(teachers, 10_000)
    images, numbers = torch.rand(4, 3, 5, 5), torch.arange(4)
    for _ in range(2):
        few, all_ = small(images, numbers, 32), large(images, numbers, 32)
        assert all(equal(few[name], all_[name]) for name in all_)
    assert len(small) == 2
    assert teachers.calls == 3


def test_switched_off_passes_through_unrounded() -> None:
    teachers = CountingTeachers()
    memory = TargetMemory(teachers, 0)
    images = torch.rand(2, 3, 5, 5)
    assert torch.equal(memory(images, torch.arange(2), 32)["both"].dense, images[:, :2] * 3.3)
    memory(images, torch.arange(2), 32)
    assert teachers.calls == 2
    assert len(memory) == 0


def test_values_beyond_half_precision_stay_finite() -> None:
    memory = TargetMemory(lambda images, _: {"t": TeacherOutput(summary=images.flatten(1), dense=None)}, 1000)
    answer = memory(torch.full((1, 1, 1, 1), 1e9), torch.arange(1), 32)["t"].summary
    assert answer is not None
    assert answer.item() == 65504

from collections.abc import Callable

import torch

from training.loader import ViewBatch
from training.target_memory import TargetMemory
from training.teachers.teacher import TeacherOutput

AsBatch = Callable[..., ViewBatch]


class CountingTeachers:
    """One teacher with both kinds of tokens, one with dense tokens only; counts how often they are asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, batch: ViewBatch, image_size: int) -> dict[str, TeacherOutput]:
        self.calls += 1
        images = batch.images
        dense = images[:, :2] * 3.3
        return {
            "both": TeacherOutput(summary=images.mean(dim=(2, 3)), dense=dense),
            "dense_only": TeacherOutput(summary=None, dense=dense + 1),
        }


def equal(a: TeacherOutput, b: TeacherOutput) -> bool:
    pairs = ((a.summary, b.summary), (a.dense, b.dense))
    return all(x is y is None or torch.equal(x, y) for x, y in pairs)


def test_remembered_answers_equal_first_ones_in_any_order(as_batch: AsBatch) -> None:
    teachers = CountingTeachers()
    memory = TargetMemory(teachers, 10_000)
    images = torch.rand(4, 3, 5, 5)
    first = memory(as_batch(images), 32)
    order = torch.tensor([2, 0, 3, 1])
    again = memory(as_batch(images[order])._replace(numbers=order), 32)
    assert teachers.calls == 1
    assert len(memory) == 4
    for name, output in first.items():
        assert output.dense is not None
        assert output.dense.dtype == torch.float32
        summary = None if output.summary is None else output.summary[order]
        assert equal(again[name], TeacherOutput(summary=summary, dense=output.dense[order]))


def test_what_does_not_fit_is_asked_again_with_equal_answers(as_batch: AsBatch) -> None:
    # A row takes 2 bytes x (3 summary + 2 x 50 dense values) = 206 bytes: two of them fit.
    teachers = CountingTeachers()
    small, large = TargetMemory(teachers, 420), TargetMemory(teachers, 10_000)
    batch = as_batch(torch.rand(4, 3, 5, 5))
    for _ in range(2):
        few, all_ = small(batch, 32), large(batch, 32)
        assert all(equal(few[name], all_[name]) for name in all_)
    assert len(small) == 2
    assert teachers.calls == 3


def test_switched_off_passes_through_unrounded(as_batch: AsBatch) -> None:
    teachers = CountingTeachers()
    memory = TargetMemory(teachers, 0)
    batch = as_batch(torch.rand(2, 3, 5, 5))
    assert torch.equal(memory(batch, 32)["both"].dense, batch.images[:, :2] * 3.3)
    memory(batch, 32)
    assert teachers.calls == 2
    assert len(memory) == 0


def test_values_beyond_half_precision_stay_finite(as_batch: AsBatch) -> None:
    memory = TargetMemory(lambda batch, _: {"t": TeacherOutput(summary=batch.images.flatten(1), dense=None)}, 1000)
    answer = memory(as_batch(torch.full((1, 1, 1, 1), 1e9)), 32)["t"].summary
    assert answer is not None
    assert answer.item() == 65504

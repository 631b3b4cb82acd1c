import math

import pytest
import torch

from training.losses.relational import relational


def at(*degrees: float) -> torch.Tensor:
    return torch.tensor([[math.cos(math.radians(each)), math.sin(math.radians(each))] for each in degrees])


def test_by_hand() -> None:
    value = relational(at(0, 90, 180), at(0, 60, 180))
    assert value.tolist() == pytest.approx([0.0429, 0.0681, 0.0253], abs=1e-4)


def test_gates_are_open_in_one_direction_only() -> None:
    target = at(0, 60, 180)
    # near pairs nearer, far pairs farther: nothing to pay
    assert relational(at(0, 20, 180), at(0, 60, 150)).tolist() == pytest.approx([0, 0, 0], abs=1e-6)
    assert relational(at(0, 60, 100), target)[2] > 0.01  # a far pair pushed together


def test_masked_images_are_in_no_pair() -> None:
    prediction, target = at(0, 90, 180, 10), at(0, 60, 180, 10)
    target[3] = float("nan")
    value = relational(prediction, target, torch.tensor([True, True, True, False]))
    assert value.tolist() == pytest.approx([0.0429, 0.0681, 0.0253, 0.0], abs=1e-4)
    alone = relational(prediction, target, torch.tensor([True, False, False, False]))
    assert alone.tolist() == [0.0] * 4


def test_equal_summaries_have_a_gradient() -> None:
    prediction = torch.ones(3, 2, requires_grad=True)
    relational(prediction, at(0, 60, 180)).sum().backward()
    assert prediction.grad is not None
    assert bool(prediction.grad.isfinite().all())


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(B, D\) and \(B, E\), got \(2, 2\) and \(3, 2\)"):
        relational(at(0, 1), at(0, 1, 2))

import math

import pytest
import torch

from training.losses.dino_cross_entropy import dino_cross_entropy


def test_by_hand() -> None:
    prediction = torch.tensor([[math.log(3), 0.0], [0.0, 0.0]])
    target = torch.tensor([[0.0, 1.0], [0.25, 0.75]])
    # row 0: softmax 3/4, 1/4; row 1: any target costs log 2 against an even prediction
    value = dino_cross_entropy(prediction, target, temperature=1.0)
    assert value.dtype == torch.float32
    assert value.tolist() == pytest.approx([math.log(4), math.log(2)], rel=1e-6)
    # a temperature of 1/2 squares the odds: 9/10, 1/10
    half = dino_cross_entropy(prediction, target, temperature=0.5)
    assert half.tolist() == pytest.approx([math.log(10), math.log(2)], rel=1e-6)


def test_the_right_answer_costs_the_entropy_of_the_target() -> None:
    target = torch.tensor([[0.5, 0.25, 0.25]])
    assert dino_cross_entropy(target.log(), target, temperature=1.0).item() == pytest.approx(1.5 * math.log(2))


def test_masked_rows_count_neither_in_value_nor_gradient_even_as_nan() -> None:
    prediction = torch.zeros(2, 2)
    prediction[1] = float("nan")
    prediction.requires_grad_(True)
    target = torch.tensor([[1.0, 0.0], [float("nan"), 0.0]])
    value = dino_cross_entropy(prediction, target, torch.tensor([True, False]), temperature=1.0)
    assert value.tolist() == pytest.approx([math.log(2), 0])
    value.sum().backward()
    assert prediction.grad is not None
    assert prediction.grad.tolist() == [[-0.5, 0.5], [0.0, 0.0]]


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"expected two \(B, K\) tensors, got \(2, 3\) and \(2, 4\)"):
        dino_cross_entropy(torch.zeros(2, 3), torch.zeros(2, 4), temperature=1.0)
    with pytest.raises(ValueError, match=r"valid_mask must be bool \(2,\)"):
        dino_cross_entropy(torch.zeros(2, 3), torch.zeros(2, 3), torch.ones(2), temperature=1.0)

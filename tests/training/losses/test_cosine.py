import pytest
import torch

from training.losses.cosine import cosine


def test_by_hand() -> None:
    prediction, target = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]]), torch.tensor([[[0.0, 3.0], [0.0, 1.0]]])
    assert cosine(prediction, target).tolist() == [0.5]
    assert cosine(prediction, target, torch.tensor([[True, False]])).tolist() == [1.0]
    assert cosine(-target, target).tolist() == [2.0]


def test_a_zero_vector_has_a_gradient() -> None:
    prediction = torch.zeros(1, 1, 2, requires_grad=True)
    cosine(prediction, torch.tensor([[[1.0, 0.0]]])).sum().backward()
    assert prediction.grad is not None
    assert bool(prediction.grad.isfinite().all())


def test_masked_nan_stays_outside() -> None:
    prediction = torch.tensor([[[1.0, 1.0], [float("nan"), 0.0]]], requires_grad=True)
    value = cosine(prediction, torch.ones(1, 2, 2), torch.tensor([[True, False]]))
    value.sum().backward()
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert prediction.grad is not None
    assert prediction.grad[0, 1].tolist() == [0.0, 0.0]


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"two \(B, N, D\) tensors, got \(1, 2, 3\) and \(1, 2, 4\)"):
        cosine(torch.ones(1, 2, 3), torch.ones(1, 2, 4))

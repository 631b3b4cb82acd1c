import math

import pytest
import torch

from training.losses.koleo import koleo


def test_by_hand() -> None:
    # Directions at 0, 90 and 210 degrees: nearest at 90, 90 and 120 degrees, chord lengths √2, √2 and √3.
    features = torch.tensor([[3.0, 0.0], [0.0, 0.5], [-math.sqrt(3), -1.0]])
    value = koleo(features)
    assert value.dtype == torch.float32
    assert value.tolist() == pytest.approx([-math.log(2) / 2, -math.log(2) / 2, -math.log(3) / 2], abs=1e-5)


def test_frames_of_one_clip_are_no_neighbours() -> None:
    features = torch.tensor([[1.0, 0.0], [1.0, 0.01], [0.0, 1.0]])
    value = koleo(features, groups=torch.tensor([4, 4, 7]))
    # 90 degrees, and 0.57 less, instead of 0.57
    assert value[0].item() == pytest.approx(-math.log(2) / 2, abs=1e-5)
    assert value[2].item() == pytest.approx(-math.log(2 * math.sin((math.pi / 2 - 0.01) / 2)), abs=1e-4)


def test_a_vector_without_neighbour_and_a_masked_one_score_zero() -> None:
    assert koleo(torch.tensor([[1.0, 0.0]])).tolist() == [0.0]
    features = torch.tensor([[1.0, 0.0], [float("nan"), 0.0], [0.0, 1.0]], requires_grad=True)
    value = koleo(features, valid_mask=torch.tensor([True, False, True]))
    assert value.tolist() == pytest.approx([-math.log(2) / 2, 0, -math.log(2) / 2], abs=1e-5)
    value.sum().backward()
    assert features.grad is not None
    assert bool(features.grad.isfinite().all())


def test_its_gradient_spreads_vectors() -> None:
    features = torch.randn(16, 4, generator=torch.Generator().manual_seed(0)) * 0.1 + 1
    features.requires_grad_(True)
    before = float(koleo(features).detach().mean())
    for _ in range(50):
        (gradient,) = torch.autograd.grad(koleo(features).sum(), features)
        features = (features - 0.02 * gradient).detach().requires_grad_(True)
    assert float(koleo(features).detach().mean()) < before - 1


def test_equal_vectors_give_a_finite_value_and_gradient() -> None:
    features = torch.ones(2, 3, requires_grad=True)
    value = koleo(features)
    assert value.tolist() == pytest.approx([6 * math.log(10)] * 2, rel=1e-4)  # -log ε, 13.8
    value.sum().backward()
    assert features.grad is not None
    assert bool(features.grad.isfinite().all())


def test_gradient_is_that_of_finite_differences() -> None:
    features = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: koleo(x), (features,))


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"expected \(B, D\), got \(2, 3, 4\)"):
        koleo(torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match=r"groups must be \(2,\), got \(3,\)"):
        koleo(torch.zeros(2, 3), groups=torch.zeros(3))

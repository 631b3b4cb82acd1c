import math

import pytest
import torch
from torch import Tensor

from training.errors import UserError
from training.losses.angle import MAX_ANGLE, angle, angle_between, best_constant_direction, dispersion

X = [1.0, 0.0]


@pytest.mark.parametrize(
    ("target", "theta"),
    [
        ([5.0, 0.0], 0.0),
        ([1.0, math.tan(math.radians(30))], math.radians(30)),
        ([3.0, 3.0], math.pi / 4),
        ([0.0, 2.0], math.pi / 2),
        ([-1.0, 1.0], 3 * math.pi / 4),
        ([-1.0, 0.0], math.pi),
        ([0.0, 0.0], math.pi / 2),  # a zero vector has no direction
    ],
)
def test_angles_by_hand(target: list[float], theta: float) -> None:
    value = angle_between(torch.tensor([X]), torch.tensor([target]))
    assert value.item() == pytest.approx(theta, abs=3e-6)


@pytest.mark.parametrize(("target", "theta"), [([0.0, 2.0], math.pi / 2), ([3.0, 3.0], math.pi / 4), ([-1, 0], 3.1)])
def test_loss_by_hand(target: list[float], theta: float) -> None:
    value = angle(torch.tensor([X]), torch.tensor([target]), dispersion=0.5)
    assert value.shape == (1,)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(theta**2 / 0.5, rel=1e-5)


@pytest.mark.parametrize("exponent", [-2, -3, -4, -5])
def test_small_angles_survive_float32(exponent: int) -> None:
    theta = 10.0**exponent
    value = angle_between(torch.tensor([X]), torch.tensor([[math.cos(theta), math.sin(theta)]]))
    assert value.item() == pytest.approx(theta, rel=1e-2)


@pytest.mark.parametrize("target", [[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0], [-3.0, 0.0], [0.0, 0.0]])
def test_values_and_gradients_are_finite_at_the_ends(target: list[float]) -> None:
    prediction = torch.tensor([X], requires_grad=True)
    value = angle(prediction, torch.tensor([target]), dispersion=1.0)
    value.sum().backward()
    assert value.isfinite().all()
    assert prediction.grad is not None
    assert prediction.grad.isfinite().all()


def test_the_gradient_vanishes_at_the_target_and_beyond_the_clamp() -> None:
    beyond = math.cos(MAX_ANGLE + 0.02), math.sin(MAX_ANGLE + 0.02)
    prediction = torch.tensor([X, X], requires_grad=True)
    angle(prediction, torch.tensor([X, beyond]), dispersion=1.0).sum().backward()
    assert prediction.grad is not None
    assert prediction.grad.abs().max() < 1e-5


def test_slope_per_unit_of_cosine_at_zero_is_minus_two() -> None:
    theta = torch.tensor(0.01, dtype=torch.float64)
    vector = torch.stack([theta.cos(), theta.sin()])[None]
    value = angle(vector, torch.tensor([X], dtype=torch.float64), dispersion=1.0)
    assert (value / (theta.cos() - 1)).item() == pytest.approx(-2, rel=1e-4)


def test_gradcheck() -> None:
    generator = torch.Generator().manual_seed(0)
    prediction = torch.randn(3, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    target = torch.randn(3, 5, dtype=torch.float64, generator=generator)
    assert torch.autograd.gradcheck(lambda x: angle(x, target, dispersion=0.7), prediction)


def test_bfloat16_inputs_are_computed_in_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    prediction, target = torch.randn(2, 16, 64, generator=generator).bfloat16()
    value = angle(prediction, target, dispersion=1.0)
    exact = angle(prediction.double(), target.double(), dispersion=1.0)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(angle(prediction, target, dispersion=1.0), value)


def test_length_coordinates_and_batch_order_do_not_matter() -> None:
    generator = torch.Generator().manual_seed(0)
    prediction, target = torch.randn(2, 6, 8, generator=generator)
    value = angle(prediction, target, dispersion=1.0)
    columns, rows = torch.randperm(8, generator=generator), torch.randperm(6, generator=generator)
    torch.testing.assert_close(angle(7 * prediction, 0.1 * target, dispersion=1.0), value)
    torch.testing.assert_close(angle(prediction[:, columns], target[:, columns], dispersion=1.0), value)
    torch.testing.assert_close(angle(prediction[rows], target[rows], dispersion=1.0), value[rows])
    torch.testing.assert_close(angle(target, prediction, dispersion=1.0), value)


def test_masked_images_score_zero_and_give_no_gradient_even_as_nan() -> None:
    prediction = torch.tensor([X, [float("nan")] * 2, [0.0, 1.0]], requires_grad=True)
    target = torch.tensor([[0.0, 1.0], [1.0, 1.0], [float("inf"), 0.0]])
    mask = torch.tensor([True, False, False])
    value = angle(prediction, target, mask, dispersion=1.0)
    value.sum().backward()
    assert value.tolist() == pytest.approx([(math.pi / 2) ** 2, 0, 0], abs=1e-5)
    assert prediction.grad is not None
    assert prediction.grad[1:].tolist() == [[0, 0], [0, 0]]
    assert prediction.grad[0].abs().sum() > 0


def test_inputs_are_left_alone() -> None:
    prediction, target = torch.randn(2, 3, 4)
    kept = prediction.clone(), target.clone()
    angle(prediction, target, torch.tensor([True, False, True]), dispersion=1.0)
    assert torch.equal(prediction, kept[0])
    assert torch.equal(target, kept[1])


@pytest.mark.parametrize(
    ("prediction", "target", "mask", "message"),
    [
        (torch.ones(2, 3), torch.ones(2, 4), None, r"two \(B, D\) tensors, got \(2, 3\) and \(2, 4\)"),
        (torch.ones(2, 1, 3), torch.ones(2, 1, 3), None, r"two \(B, D\) tensors"),
        (torch.ones(2, 3), torch.ones(2, 3), torch.ones(2), r"valid_mask must be bool \(2,\)"),
        (torch.ones(2, 3), torch.ones(2, 3), torch.ones(2, 1, dtype=torch.bool), r"valid_mask must be bool \(2,\)"),
    ],
)
def test_shapes_that_do_not_fit(prediction: Tensor, target: Tensor, mask: Tensor | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        angle(prediction, target, mask, dispersion=1.0)


def test_dispersion_by_hand() -> None:
    # Four directions at 30 degrees around the axis (0, 0, 1): the axis is best, Disp = (π/6)².
    opening = math.tan(math.pi / 6)
    targets = torch.tensor([[opening, 0, 1], [-opening, 0, 1], [0, opening, 1], [0, -opening, 1]]) * 5
    assert best_constant_direction(targets).tolist() == pytest.approx([0, 0, 1], abs=1e-6)
    assert dispersion(targets) == pytest.approx((math.pi / 6) ** 2, rel=1e-5)


def test_the_best_direction_is_the_mean_angle_in_a_plane() -> None:
    # On a circle the Fréchet mean is the mean angle: 0, 0 and 60 degrees -> 20, where the mean vector points to 19.1.
    degrees = torch.tensor([0.0, 0.0, 60.0], dtype=torch.float64)
    targets = torch.stack([degrees.deg2rad().cos(), degrees.deg2rad().sin()], dim=1)
    best = best_constant_direction(targets)
    assert math.degrees(math.atan2(best[1], best[0])) == pytest.approx(20, abs=1e-3)
    # (20² + 20² + 40²) / 3 = 800 square degrees
    assert dispersion(targets) == pytest.approx(800 * (math.pi / 180) ** 2, rel=1e-6)


@pytest.mark.parametrize("tightness", [0.0, 0.5, 2.0, 8.0])
def test_no_other_constant_is_better_and_the_best_scores_one(tightness: float) -> None:
    generator = torch.Generator().manual_seed(1)
    targets = torch.randn(200, 6, generator=generator)
    targets[:, 0] += tightness * 3
    best, disp = best_constant_direction(targets), dispersion(targets)
    assert angle(best.expand_as(targets), targets, dispersion=disp).mean().item() == pytest.approx(1, rel=1e-3)
    for _ in range(20):
        other = best + 0.3 * torch.randn(6, generator=generator)
        assert angle(other.expand_as(targets), targets, dispersion=disp).mean() >= 1 - 1e-3


def test_tighter_cones_have_smaller_dispersion() -> None:
    noise = torch.randn(300, 16, generator=torch.Generator().manual_seed(0))
    axis = torch.zeros(16)
    axis[0] = 4
    values = [dispersion(noise + tightness * axis) for tightness in (0.5, 1, 2, 8)]
    assert values == sorted(values, reverse=True)
    assert values[0] / values[-1] > 20


def test_opposite_pairs_have_their_best_direction_at_right_angles() -> None:
    targets = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, -2.0, 0.0]])
    assert dispersion(targets) == pytest.approx((math.pi / 2) ** 2, rel=1e-5)


def test_useless_targets_are_refused() -> None:
    with pytest.raises(UserError, match="all 5 summaries of this teacher point in one direction"):
        dispersion(torch.ones(5, 3))
    with pytest.raises(UserError, match="0 summaries"):
        dispersion(torch.ones(0, 3))
    with pytest.raises(UserError, match="NaN among them"):
        dispersion(torch.full((2, 3), float("nan")))

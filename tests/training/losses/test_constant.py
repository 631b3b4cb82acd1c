import pytest
import torch

from training.errors import UserError
from training.losses import angle, best_constant_direction, cosine, cosine_smooth_l1, mse
from training.losses.constant import best_constant


def test_by_hand() -> None:
    targets = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    # squared error: the mean; cosine: halfway between the directions, whatever their lengths
    assert best_constant(mse, targets).tolist() == pytest.approx([0.5, 1.5], abs=1e-4)
    found = best_constant(cosine, targets)
    assert (found / found.norm()).tolist() == pytest.approx([0.5**0.5] * 2, abs=1e-4)
    # smooth L1 alone: below 1 it is squared, above 1 absolute, so an outlier pulls the mean of 0, 0, 0, 5 only to 1/3
    outlier = torch.tensor([[0.0], [0.0], [0.0], [5.0]])
    found = best_constant(lambda x, y: cosine_smooth_l1(x, y, share=1.0), outlier)
    assert found.tolist() == pytest.approx([1 / 3], abs=1e-4)


def test_for_the_angle_it_is_the_best_constant_direction() -> None:
    targets = torch.randn(100, 5, generator=torch.Generator().manual_seed(0)) + 0.5
    found = best_constant(lambda x, y: angle(x, y, dispersion=1.0), targets)
    torch.testing.assert_close(found / found.norm(), best_constant_direction(targets), rtol=0, atol=1e-3)


@pytest.mark.parametrize("loss", [mse, cosine, cosine_smooth_l1])
def test_nothing_near_by_is_better(loss) -> None:  # type: ignore[no-untyped-def]
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(300, 6, generator=generator) ** 3  # skewed
    targets[:, 0] += 0.5
    best = best_constant(loss, targets)
    lowest = loss(best.expand_as(targets), targets).mean()
    for _ in range(20):
        other = best + 0.2 * torch.randn(6, generator=generator)
        assert loss(other.expand_as(targets), targets).mean() >= lowest - 1e-6


def test_twice_gives_the_same_and_leaves_the_targets() -> None:
    targets = torch.randn(50, 4)
    kept = targets.clone()
    with torch.no_grad():
        assert torch.equal(best_constant(cosine, targets), best_constant(cosine, targets))
    assert torch.equal(targets, kept)


@pytest.mark.parametrize("targets", [torch.ones(0, 3), torch.full((2, 3), float("nan"))])
def test_useless_targets_are_refused(targets: torch.Tensor) -> None:
    with pytest.raises(UserError, match=r"no constant prediction can be found for \d targets: none, or NaN among them"):
        best_constant(mse, targets)

import pytest
import torch
from torch import nn

from training.errors import UserError
from training.losses import shift_equivariant_mse
from training.objectives.branches import DenseBranch, SummaryBranch


def dense_branch(loss: str = "mse", mode: str = "none") -> DenseBranch:
    """A branch whose student speaks in the teacher's space already."""
    branch = DenseBranch(3, 3, 4, mode, loss)
    branch.head = nn.Identity()  # type: ignore[assignment]
    return branch


def test_shifted_maps_are_compared_where_they_overlap() -> None:
    generator = torch.Generator().manual_seed(0)
    content = torch.randn(2, 3, 6, 6, generator=generator)
    student, teacher = content[:, :, 1:5, 1:5], content[:, :, 0:4, 2:6]  # shifted by (0, 0) and by (1, -1)
    branch = dense_branch()
    branch.observe(content)
    branch.freeze()
    # Of image 1 only the first cell is valid, which the teacher was not shown: it lay at (0, 0) + (1, -1).
    mask = torch.ones(2, 16, dtype=torch.bool)
    mask[1, 1:] = False
    aligned = branch(student, teacher, None, ((0, 0), (1, -1)))
    assert aligned.agreement.loss.tolist() == pytest.approx([0, 0], abs=1e-12)
    assert aligned.agreement.cosine.tolist() == pytest.approx([1, 1])
    assert aligned.prediction.shape == (2, 9, 3)
    masked = branch(student, teacher, mask, ((0, 0), (1, -1)))
    assert masked.agreement.counted.tolist() == [True, False]
    apart = branch(student, teacher, None, None).agreement.loss
    assert float(apart.min()) > 0.5
    other = branch(student, teacher, None, ((1, 0), (0, 1))).agreement.loss
    flat = (each.flatten(2).transpose(1, 2) for each in (student, teacher))
    expected = shift_equivariant_mse(*flat, grid=(4, 4), student_shift=(1, 0), teacher_shift=(0, 1))
    torch.testing.assert_close(other, expected)


def test_the_constant_of_dense_tokens_is_found_among_valid_ones() -> None:
    target = (
        torch.randn(40, 3, 4, 4, generator=torch.Generator().manual_seed(0)) + torch.tensor([4.0, 0, 0])[:, None, None]
    )
    valid = torch.ones(40, 16, dtype=torch.bool)
    valid[:, 8:] = False
    spoiled = target.clone()
    spoiled[:, :, 2:] = float("nan")
    branch = dense_branch("cosine")
    branch.observe(spoiled[:20], valid[:20])
    branch.observe(spoiled[20:], valid[20:])
    branch.freeze()
    direction = branch.constant / branch.constant.norm()
    assert direction.tolist() == pytest.approx([1, 0, 0], abs=0.15)
    agreement = branch(target, target, valid).agreement
    assert float(agreement.constant_loss.mean()) < 0.1


def test_a_teacher_that_saw_nothing_is_named() -> None:
    branch = SummaryBranch(3, 3, 4, "none", "cosine")
    branch.observe(torch.randn(4, 3), torch.zeros(4, 2, dtype=torch.bool))
    with pytest.raises(UserError, match="no constant prediction can be found for 0 targets"):
        branch.freeze()


def test_the_constant_is_in_the_state_dict() -> None:
    first, second = (SummaryBranch(3, 3, 4, "center", "cosine") for _ in range(2))
    first.observe(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)) + 1)
    first.freeze()
    second.load_state_dict(first.state_dict(), strict=True)
    tokens, target = torch.randn(2, 5, 3)
    assert torch.equal(first(tokens, target).agreement.loss, second(tokens, target).agreement.loss)
    assert torch.equal(first(tokens, target).agreement.constant_loss, second(tokens, target).agreement.constant_loss)


def test_the_length_is_fitted_to_what_is_learned_from() -> None:
    branch = dense_branch("cosine")
    target = torch.randn(8, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    branch.observe(target)
    branch.freeze()
    valid = torch.ones(8, 4, dtype=torch.bool)
    valid[:, 3] = False
    spoiled = (5 * target).requires_grad_(True)
    hurt = target.clone()
    hurt[:, :, 1, 1] = float("nan")
    for _ in range(3):
        branch(spoiled, hurt, valid)
    assert float(branch.length[0] / branch.length[1]) == pytest.approx(1 / 5)
    kept = branch.length.clone()
    with torch.no_grad():
        branch(target, target)  # measured
    branch.eval()(target, target)
    assert torch.equal(branch.length, kept)

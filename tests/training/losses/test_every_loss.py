"""What holds for every loss, whatever its formula."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from training.errors import UserError
from training.losses import (
    DENSE_LOSSES,
    SUMMARY_LOSSES,
    angle,
    cosine,
    cosine_smooth_l1,
    gram,
    mse,
    relational,
    shift_equivariant_mse,
    temporal_gram,
    token_similarity_kl,
)

CLIPS = torch.tensor([5, 5, 5, 2])  # three frames of one clip, one of another
Loss = Callable[..., Tensor]


ON_TOKENS: dict[str, Loss] = {
    "mse": mse,
    "cosine": cosine,
    "cosine_smooth_l1": cosine_smooth_l1,
    "gram": gram,
    "temporal_gram": partial(temporal_gram, clips=CLIPS),
    "token_similarity_kl": token_similarity_kl,
    "shift_equivariant_mse": partial(shift_equivariant_mse, grid=(2, 3), student_shift=(0, 1), teacher_shift=(0, 0)),
}
ON_SUMMARIES: dict[str, Loss] = {"angle": partial(angle, dispersion=0.7), "relational": relational}
OF_ONE_IMAGE = sorted({*ON_TOKENS, *ON_SUMMARIES} - {"temporal_gram", "relational"})
EVERY = sorted({*ON_TOKENS, *ON_SUMMARIES})


def drawn(name: str, kind: torch.dtype = torch.float32) -> tuple[Loss, Tensor, Tensor, Tensor]:
    """A loss with a prediction, a target and a mask that fit it."""
    generator = torch.Generator().manual_seed(0)
    shape, mask = (4, 6, 5), torch.ones(4, 6, dtype=torch.bool)
    mask[0, 2], mask[1, :5] = False, False
    if name in ON_SUMMARIES:
        shape, mask = (4, 5), torch.tensor([True, True, False, True])
    prediction, target = torch.randn(2, *shape, generator=generator).to(kind)
    return {**ON_TOKENS, **ON_SUMMARIES}[name], prediction, target, mask


def test_recipes_may_name_these_and_a_wrong_name_is_told_the_right_ones() -> None:
    assert SUMMARY_LOSSES.names() == ["angle", "cosine", "cosine_smooth_l1", "mse"]
    assert DENSE_LOSSES.names() == ["cosine", "cosine_smooth_l1", "mse", "token_similarity_kl"]
    assert {*SUMMARY_LOSSES.names(), *DENSE_LOSSES.names()} <= set(EVERY)
    with pytest.raises(UserError, match=r"unknown dense loss 'cos'\. .*Known: cosine, cosine_smooth_l1, mse, token_"):
        DENSE_LOSSES.get("cos")
    with pytest.raises(UserError, match=r"unknown summary loss 'angel'\. Did you mean 'angle'"):
        SUMMARY_LOSSES.get("angel")


@pytest.mark.parametrize("name", sorted(set(SUMMARY_LOSSES.names()) & set(DENSE_LOSSES.names())))
def test_a_summary_is_one_token(name: str) -> None:
    _, prediction, target, _ = drawn("relational")
    mask = torch.tensor([True, False, True, True])
    loss = SUMMARY_LOSSES.get(name)
    assert torch.equal(loss(prediction, target), loss(prediction[:, None], target[:, None]))
    assert torch.equal(loss(prediction, target, mask), loss(prediction[:, None], target[:, None], mask[:, None]))


@pytest.mark.parametrize("name", EVERY)
def test_one_float32_number_per_image(name: str) -> None:
    loss, prediction, target, mask = drawn(name)
    for valid_mask in (None, mask):
        value = loss(prediction, target, valid_mask)
        assert value.shape == (4,)
        assert value.dtype == torch.float32
        assert bool((value >= 0).all())


@pytest.mark.parametrize("name", EVERY)
def test_a_perfect_prediction_costs_nothing(name: str) -> None:
    loss, _, target, mask = drawn(name)
    if name == "shift_equivariant_mse":
        loss = partial(shift_equivariant_mse, grid=(2, 3), student_shift=(0, 1), teacher_shift=(0, 1))
    torch.testing.assert_close(loss(target, target), torch.zeros(4), atol=1e-6, rtol=0)
    torch.testing.assert_close(loss(target, target, mask), torch.zeros(4), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", EVERY)
def test_a_mask_of_true_changes_nothing(name: str) -> None:
    loss, prediction, target, mask = drawn(name)
    torch.testing.assert_close(loss(prediction, target, torch.ones_like(mask)), loss(prediction, target))


@pytest.mark.parametrize("name", EVERY)
def test_what_is_masked_enters_neither_value_nor_gradient_even_as_nan(name: str) -> None:
    loss, prediction, target, mask = drawn(name)
    # A shifted prediction has its masked cells elsewhere: there only the target is spoiled.
    both = name != "shift_equivariant_mse"
    expected = loss(prediction, target, mask)
    spoiled = prediction.masked_fill(~mask[..., None], torch.nan) if both else prediction.clone()
    spoiled.requires_grad_(True)
    value = loss(spoiled, target.masked_fill(~mask[..., None], torch.inf), mask)
    value.sum().backward()
    assert torch.equal(value, expected)
    assert spoiled.grad is not None
    assert bool(spoiled.grad.isfinite().all())
    assert float(spoiled.grad.abs().sum()) > 0
    if both:
        assert float(spoiled.grad[~mask].abs().max()) == 0


@pytest.mark.parametrize("name", EVERY)
def test_nothing_valid_is_zero_and_has_a_gradient_of_zero(name: str) -> None:
    loss, prediction, target, mask = drawn(name)
    prediction.requires_grad_(True)
    value = loss(prediction, target, torch.zeros_like(mask))
    value.sum().backward()
    assert value.tolist() == [0] * 4
    assert prediction.grad is not None
    assert float(prediction.grad.abs().max()) == 0


@pytest.mark.parametrize("name", EVERY)
def test_gradient_against_finite_differences(name: str) -> None:
    loss, prediction, target, mask = drawn(name, torch.float64)
    prediction.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: loss(x, target, mask), prediction)


@pytest.mark.parametrize("name", EVERY)
def test_bfloat16_inputs_are_computed_in_float32(name: str) -> None:
    loss, prediction, target, mask = drawn(name, torch.bfloat16)
    value = loss(prediction, target, mask)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), loss(prediction.double(), target.double(), mask), rtol=1e-4, atol=1e-6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(loss(prediction, target, mask), value)


@pytest.mark.parametrize("name", EVERY)
def test_equal_predictions_have_a_finite_gradient(name: str) -> None:
    loss, prediction, target, mask = drawn(name)
    for constant in (torch.zeros_like(prediction), torch.ones_like(prediction)):
        constant.requires_grad_(True)
        loss(constant, target, mask).sum().backward()
        assert constant.grad is not None
        assert bool(constant.grad.isfinite().all())


@pytest.mark.parametrize("name", OF_ONE_IMAGE)
def test_an_image_costs_the_same_in_any_batch(name: str) -> None:
    loss, prediction, target, mask = drawn(name)
    alone = torch.cat([loss(*(part[[n]] for part in (prediction, target, mask))) for n in range(4)])
    torch.testing.assert_close(alone, loss(prediction, target, mask))


@pytest.mark.parametrize("name", sorted(set(ON_TOKENS) - {"shift_equivariant_mse"}))
def test_the_order_of_tokens_and_coordinates_does_not_matter(name: str) -> None:
    loss, prediction, target, mask = drawn(name)
    generator = torch.Generator().manual_seed(1)
    tokens, columns = torch.randperm(6, generator=generator), torch.randperm(5, generator=generator)
    shuffled = loss(prediction[:, tokens][..., columns], target[:, tokens][..., columns], mask[:, tokens])
    torch.testing.assert_close(shuffled, loss(prediction, target, mask))


@pytest.mark.parametrize("name", EVERY)
def test_inputs_are_left_alone(name: str) -> None:
    loss, *inputs = drawn(name)
    kept = [each.clone() for each in inputs]
    loss(*inputs)
    assert all(torch.equal(before, after) for before, after in zip(kept, inputs, strict=True))


@pytest.mark.parametrize("name", EVERY)
def test_shapes_that_do_not_fit(name: str) -> None:
    loss, prediction, target, mask = drawn(name)
    with pytest.raises(ValueError, match=r"expected .*, got \(4, .*\) and \(3, "):
        loss(prediction, target[:3])
    with pytest.raises(ValueError, match=r"valid_mask must be bool \(4"):
        loss(prediction, target, mask.float())
    with pytest.raises(ValueError, match=r"valid_mask must be bool \(4"):
        loss(prediction, target, mask[:3])

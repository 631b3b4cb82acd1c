import pytest
import torch
from torch import Tensor

from training.losses.mse import mse


def test_by_hand() -> None:
    prediction = torch.tensor([[[1.0, 0.0], [0.0, 2.0]], [[1.0, 1.0], [1.0, 1.0]]])
    target = torch.tensor([[[0.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 3.0]]])
    # image 0: tokens 1/2 and 2, mean 1.25; image 1: tokens 0 and 2, mean 1
    value = mse(prediction, target)
    assert value.dtype == torch.float32
    assert value.tolist() == [1.25, 1.0]


def test_masked_by_hand() -> None:
    prediction = torch.tensor([[[1.0, 0.0], [0.0, 2.0]], [[1.0, 1.0], [1.0, 1.0]]])
    target = torch.zeros(2, 2, 2)
    mask = torch.tensor([[True, False], [False, False]])
    # image 0: its one valid token scores 1/2; image 1 has none
    assert mse(prediction, target, mask).tolist() == [0.5, 0.0]
    assert torch.equal(mse(prediction, target, torch.ones(2, 2, dtype=torch.bool)), mse(prediction, target))


def test_masked_tokens_give_no_gradient_even_as_nan() -> None:
    prediction = torch.ones(1, 3, 2)
    prediction[0, 2] = float("nan")
    prediction.requires_grad_(True)
    target = torch.zeros(1, 3, 2)
    target[0, 1] = float("inf")
    value = mse(prediction, target, torch.tensor([[True, False, False]]))
    value.sum().backward()
    assert value.tolist() == [1.0]
    assert prediction.grad is not None
    assert prediction.grad.tolist() == [[[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]]


def test_images_with_few_valid_tokens_weigh_as_much_as_others() -> None:
    prediction, target = torch.ones(2, 4, 3), torch.zeros(2, 4, 3)
    mask = torch.tensor([[True] * 4, [True, False, False, False]])
    assert mse(prediction, target, mask).tolist() == [1.0, 1.0]


def test_predicting_the_mean_of_standardized_targets_scores_one() -> None:
    target = torch.randn(4, 500, 8, generator=torch.Generator().manual_seed(0))
    target = (target - target.mean(dim=(0, 1))) / target.std(dim=(0, 1), correction=0)
    assert mse(torch.zeros_like(target), target).mean().item() == pytest.approx(1, rel=1e-5)


def test_gradcheck() -> None:
    generator = torch.Generator().manual_seed(0)
    prediction = torch.randn(2, 3, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    target = torch.randn(2, 3, 4, dtype=torch.float64, generator=generator)
    mask = torch.tensor([[True, False, True], [True, True, True]])
    assert torch.autograd.gradcheck(lambda x: mse(x, target, mask), prediction)


def test_bfloat16_inputs_are_computed_in_float32() -> None:
    prediction, target = torch.randn(2, 2, 9, 16, generator=torch.Generator().manual_seed(0)).bfloat16()
    value = mse(prediction, target)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), mse(prediction.double(), target.double()), rtol=1e-6, atol=0)


def test_token_and_coordinate_order_do_not_matter() -> None:
    generator = torch.Generator().manual_seed(0)
    prediction, target = torch.randn(2, 3, 5, 4, generator=generator)
    mask = torch.rand(3, 5, generator=generator) > 0.3
    tokens, columns = torch.randperm(5, generator=generator), torch.randperm(4, generator=generator)
    shuffled = mse(prediction[:, tokens][..., columns], target[:, tokens][..., columns], mask[:, tokens])
    torch.testing.assert_close(shuffled, mse(prediction, target, mask))


def test_inputs_are_left_alone() -> None:
    prediction, target = torch.randn(2, 1, 3, 4)
    kept = prediction.clone(), target.clone()
    mse(prediction, target, torch.tensor([[True, False, True]]))
    assert torch.equal(prediction, kept[0])
    assert torch.equal(target, kept[1])


@pytest.mark.parametrize(
    ("target", "mask", "message"),
    [
        (torch.ones(2, 1, 4), None, r"two \(B, N, D\) tensors, got \(2, 3, 4\) and \(2, 1, 4\)"),
        (torch.ones(2, 3, 4), torch.ones(2, 3), r"valid_mask must be bool \(2, 3\)"),
        (torch.ones(2, 3, 4), torch.ones(2, dtype=torch.bool), r"valid_mask must be bool \(2, 3\)"),
    ],
)
def test_shapes_that_do_not_fit(target: Tensor, mask: Tensor | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mse(torch.ones(2, 3, 4), target, mask)

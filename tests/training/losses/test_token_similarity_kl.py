import pytest
import torch

from training.losses.token_similarity_kl import token_similarity_kl


def test_by_hand() -> None:
    target = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
    assert token_similarity_kl(torch.ones(1, 3, 4), target, temperature=1.0).item() == pytest.approx(0.0740, abs=1e-4)
    assert token_similarity_kl(target * 3, target).item() == pytest.approx(0, abs=1e-6)


def test_masked_tokens_are_not_compared_with() -> None:
    target = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(0))
    prediction = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(1))
    expected = token_similarity_kl(prediction[:, :3], target[:, :3])
    prediction[0, 3] = float("nan")
    prediction.requires_grad_(True)
    value = token_similarity_kl(prediction, target, torch.tensor([[True, True, True, False]]))
    value.sum().backward()
    torch.testing.assert_close(value, expected)
    assert prediction.grad is not None
    assert bool(prediction.grad.isfinite().all())


def test_one_valid_token_has_nothing_to_be_compared_with() -> None:
    mask = torch.tensor([[True, False]])
    assert token_similarity_kl(torch.randn(1, 2, 3), torch.randn(1, 2, 3), mask).tolist() == [0.0]

import pytest
import torch

from training.losses.cosine_smooth_l1 import cosine_smooth_l1


def test_by_hand() -> None:
    prediction, target = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 3.0]]])
    assert cosine_smooth_l1(prediction, target).item() == pytest.approx(1.05)
    # beta = 2: |1| -> 1/4, |3| -> 3 - 1, mean 1.125
    assert cosine_smooth_l1(prediction, target, share=1.0, beta=2.0).item() == pytest.approx(1.125)


@pytest.mark.parametrize(("beta", "expected"), [(1.0, 0.425), (2.0, 0.247)])
def test_a_constant_predictor_on_standard_normal_targets(beta: float, expected: float) -> None:
    target = torch.randn(4, 2000, 16, generator=torch.Generator().manual_seed(0))
    value = cosine_smooth_l1(torch.zeros_like(target), target, share=1.0, beta=beta).mean().item()
    assert value == pytest.approx(expected, abs=0.003)


def test_masked_tokens_do_not_count() -> None:
    prediction, target = torch.ones(1, 2, 2), torch.ones(1, 2, 2)
    target[0, 1] = float("nan")
    assert cosine_smooth_l1(prediction, target, torch.tensor([[True, False]])).item() == pytest.approx(0, abs=1e-6)

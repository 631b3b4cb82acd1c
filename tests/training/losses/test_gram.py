import pytest
import torch

from training.losses.gram import gram


def test_by_hand() -> None:
    prediction, target = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    assert gram(prediction, target).item() == pytest.approx(0.5)


def test_a_rotation_and_another_width_cost_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(2, 5, 4, generator=generator)
    turn, _ = torch.linalg.qr(torch.randn(6, 4, generator=generator))
    torch.testing.assert_close(gram(3 * target @ turn.T, target), torch.zeros(2), atol=1e-6, rtol=0)


def test_masked_tokens_do_not_count() -> None:
    generator = torch.Generator().manual_seed(0)
    prediction, target = torch.randn(2, 1, 4, 3, generator=generator)
    expected = gram(prediction[:, :2], target[:, :2])
    target[0, 2:] = float("nan")
    torch.testing.assert_close(gram(prediction, target, torch.tensor([[True, True, False, False]])), expected)
    assert gram(prediction, target, torch.zeros(1, 4, dtype=torch.bool)).tolist() == [0.0]

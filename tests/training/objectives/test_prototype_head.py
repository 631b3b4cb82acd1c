import pytest
import torch

from training.objectives.prototype_head import CenteredSoftmax, PrototypeHead


def test_logits_are_cosines_with_prototypes() -> None:
    torch.manual_seed(0)
    head = PrototypeHead(4, 8, 2, 3)
    tokens = torch.randn(5, 4)
    logits = head(tokens)
    assert logits.shape == (5, 3)
    inner = head.mlp(tokens)
    expected = inner[0] @ head.prototypes[1] / inner[0].norm() / head.prototypes[1].norm()
    assert logits[0, 1].item() == pytest.approx(expected.item(), abs=1e-6)


def test_center_by_hand() -> None:
    softmax = CenteredSoftmax(2, temperature=0.5, momentum=0.75)
    softmax.update(torch.tensor([[1.0, 0.0], [3.0, 0.0]]))  # mean 2 and 0: a quarter of it
    assert softmax.center.tolist() == pytest.approx([0.5, 0.0])
    softmax.update(torch.zeros(0, 2))
    assert softmax.center.tolist() == pytest.approx([0.5, 0.0])
    # (1 - 0.5, 0 - 0) / 0.5 = (1, 0)
    expected = torch.tensor([1.0, 0.0]).softmax(dim=0)
    torch.testing.assert_close(softmax(torch.tensor([[1.0, 0.0]])), expected[None])


def test_what_all_images_share_is_centered_away() -> None:
    softmax = CenteredSoftmax(3, temperature=0.04, momentum=0.9)
    logits = torch.tensor([[0.9, 0.1, 0.0]])
    assert softmax(logits).max().item() > 0.99
    for _ in range(100):
        softmax.update(logits)
    assert softmax(logits).max().item() == pytest.approx(1 / 3, abs=0.01)

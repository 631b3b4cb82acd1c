import pytest
import torch
from torch import nn

from training.objectives.momentum_copy import MomentumCopy, momentum_at


def test_it_follows_by_hand_and_is_never_trained() -> None:
    source = nn.Linear(1, 1, bias=False)
    nn.init.constant_(source.weight, 1.0)
    copied = MomentumCopy(source)
    nn.init.constant_(source.weight, 2.0)
    copied.follow(source, 0.9)  # 0.9 * 1 + 0.1 * 2
    assert copied.network.weight.item() == pytest.approx(1.1)
    copied.follow(source, 1.0)
    assert copied.network.weight.item() == pytest.approx(1.1)
    assert source.weight.item() == 2.0
    assert not any(parameter.requires_grad for parameter in copied.parameters())
    assert not copied(torch.ones(1, 1)).requires_grad
    assert list(copied.state_dict()) == ["network.weight"]


def test_it_stays_in_evaluation_mode() -> None:
    copied = nn.ModuleList([MomentumCopy(nn.Sequential(nn.Dropout(0.5)))]).train()[0]
    assert not any(module.training for module in copied.modules())
    assert torch.equal(copied(torch.ones(100)), torch.ones(100))


def test_momentum_by_hand() -> None:
    # half a cosine from 0.9: at the middle of the way half of the rest to 1
    assert [momentum_at(step, 10, 0.9) for step in (0, 5, 10, 12)] == pytest.approx([0.9, 0.95, 1.0, 1.0])

import pytest
import torch
from torch import nn

from evaluation.backbones.peers.weights import TRAINING_HEAD, fill
from training.errors import UserError

NAMES = ((r"^layer\.", ""),)


def test_all_faults_in_one_message() -> None:
    tensors = {"layer.weight": torch.ones(2, 3), "layer.extra": torch.ones(1), "head.mlp.0.weight": torch.ones(1)}
    message = (
        r"file.pth does not hold exactly the weights of that model: 1 missing: bias; 1 unknown: layer.extra; "
        r"1 of another shape: layer.weight is \(2, 3\), not \(2, 2\)"
    )
    with pytest.raises(UserError, match=message):
        fill(nn.Linear(2, 2), tensors, NAMES, (TRAINING_HEAD,), "file.pth")


def test_damaged_numbers() -> None:
    tensors = {"layer.weight": torch.ones(2, 2), "layer.bias": torch.tensor([1.0, float("nan")])}
    with pytest.raises(UserError, match=r"1 with NaN or infinity: layer\.bias"):
        fill(nn.Linear(2, 2), tensors, NAMES, (), "file.pth")


def test_two_keys_for_one_weight() -> None:
    tensors = {"layer.weight": torch.ones(2, 2), "weight": torch.ones(2, 2), "bias": torch.ones(2)}
    with pytest.raises(ValueError, match="holds weight under two names"):
        fill(nn.Linear(2, 2), tensors, NAMES, (), "file.pth")


def test_weights_are_trainable_copies() -> None:
    tensors = {"layer.weight": torch.ones(2, 2), "layer.bias": torch.zeros(2)}
    model = nn.Linear(2, 2)
    fill(model, tensors, NAMES, (), "file.pth")
    assert torch.equal(model.weight, tensors["layer.weight"])
    assert model.weight.requires_grad
    with torch.no_grad():
        model.weight.zero_()
    assert bool(tensors["layer.weight"].all())

from collections.abc import Callable

import pytest
import torch

from training.loader import ViewBatch
from training.objectives import Objective
from training.objectives.mae import MaeObjective, normalized_patches


def test_normalized_patches_by_hand() -> None:
    pixels = torch.zeros(1, 3, 2, 4)
    pixels[0, 0, :, :2] = torch.tensor([[1.0, 1.0], [0.0, 0.0]])  # the left patch: 2 of 12 values are 1
    pixels[0, :, :, 2:] = 5.0  # the right one: a single value
    left, right = normalized_patches(pixels, 2)[0]
    mean, deviation = 2 / 12, (2 / 12 * 10 / 12) ** 0.5
    high, low = (1 - mean) / deviation, -mean / deviation
    # channel by channel, row by row
    assert left.tolist() == pytest.approx([high, high, low, low, *[low] * 8], rel=1e-4)
    assert right.tolist() == [0.0] * 12


def test_only_hidden_valid_patches_are_targets(
    new_strategy: Callable[[str], Objective], wave_batch: Callable[..., ViewBatch]
) -> None:
    objective = new_strategy("mae")
    assert isinstance(objective, MaeObjective)
    batch = wave_batch(range(4), 1)
    visible, hidden = objective._split(batch, 16)
    assert visible.shape == (4, 4)
    assert sorted(torch.cat([visible, hidden], dim=1)[0].tolist()) == list(range(16))
    valid = torch.ones(4, 32, 32, dtype=torch.bool)
    valid[:, :, 16:] = False
    # A hidden patch is seen as a target only: its pixels have a gradient where it counts.
    images = batch.images.clone().requires_grad_(True)
    objective(batch._replace(images=images, valid=valid))["pixels"].backward()
    assert images.grad is not None
    touched = images.grad.abs().amax(dim=1).unfold(1, 8, 8).unfold(2, 8, 8).amax(dim=(3, 4)).flatten(1) > 0
    for image in range(4):
        found = {patch for patch in hidden[image].tolist() if touched[image, patch]}
        assert found == {patch for patch in hidden[image].tolist() if patch % 4 < 2}


def test_predicting_nothing_scores_one(
    new_strategy: Callable[[str], Objective], wave_batch: Callable[..., ViewBatch]
) -> None:
    objective = new_strategy("mae")
    assert isinstance(objective, MaeObjective)
    torch.nn.init.zeros_(objective.decoder.head.weight)
    torch.nn.init.zeros_(objective.decoder.head.bias)
    assert float(objective(wave_batch(range(4), 1))["pixels"].detach()) == pytest.approx(1, rel=1e-3)

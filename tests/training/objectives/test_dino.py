from collections.abc import Callable

import pytest
import torch

from modeling_zen import ZenImageProcessor
from training.errors import UserError
from training.loader import ViewBatch
from training.objectives import Objective
from training.objectives.dino import DinoConfig, DinoObjective


@pytest.fixture
def objective(new_strategy: Callable[[str], Objective]) -> DinoObjective:
    made = new_strategy("dino")
    assert isinstance(made, DinoObjective)
    return made


def test_only_valid_patches_are_masked(objective: DinoObjective, wave_batch: Callable[..., ViewBatch]) -> None:
    batch = wave_batch(range(8), 1, objective.crops)
    masked = objective._masked(batch, (4, 4)).unflatten(1, (4, 4))
    assert int(masked.any(dim=(1, 2)).sum()) == 4  # half of the images
    assert masked[:, :, 2:].any()
    valid = torch.ones(8, 32, 32, dtype=torch.bool)
    valid[:, :, 16:] = False
    left = objective._masked(batch._replace(valid=valid), (4, 4)).unflatten(1, (4, 4))
    assert torch.equal(left[:, :, :2], masked[:, :, :2])
    assert not left[:, :, 2:].any()


def test_views_are_compared_with_others_only(objective: DinoObjective) -> None:
    # Targets of the two large views are the first and the second of three prototypes.
    targets = (torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]]))
    first, second = torch.tensor([[0.0, 9.0, 0.0]]), torch.tensor([[9.0, 0.0, 0.0]])  # each says the other's target
    assert float(objective._across_views([first, second], targets)) == pytest.approx(0, abs=1e-6)
    # A small view is compared with both: it says the first, and misses the second by 9 / 0.1.
    small = torch.tensor([[9.0, 0.0, 0.0]])
    assert float(objective._across_views([first, second, small], targets)) == pytest.approx(90 / 4, rel=1e-4)


def test_parts_can_be_left_out(objective: DinoObjective, wave_batch: Callable[..., ViewBatch]) -> None:
    config = DinoConfig(ibot_weight=0, koleo_weight=0, local_crops=0, prototypes=8, head_width=16, bottleneck_width=4)
    plain = DinoObjective(objective.student, ZenImageProcessor(), config, 32)
    assert len(plain.crops) == 1
    losses = plain(wave_batch(range(4), 1, plain.crops))
    assert set(losses) == {"dino"}
    losses["dino"].backward()
    assert all(each.grad is not None for each in plain.parameters() if each.requires_grad)


def test_a_small_view_must_fit_the_patch(objective: DinoObjective) -> None:
    with pytest.raises(UserError, match=r"dino\.local_size=20 is no multiple of the student's patch, 8 pixels"):
        DinoObjective(objective.student, ZenImageProcessor(), DinoConfig(local_size=20), 32)

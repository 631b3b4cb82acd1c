from collections.abc import Callable

import pytest
import torch

from training.errors import UserError
from training.loader import ViewBatch
from training.objectives import Objective
from training.objectives.ijepa import IjepaConfig, IjepaObjective


def test_predicting_nothing_scores_one(
    new_strategy: Callable[[str], Objective], wave_batch: Callable[..., ViewBatch]
) -> None:
    objective = new_strategy("ijepa")
    assert isinstance(objective, IjepaObjective)
    torch.nn.init.zeros_(objective.predictor.head.weight)
    torch.nn.init.zeros_(objective.predictor.head.bias)
    assert float(objective(wave_batch(range(4), 1))["features"].detach()) == pytest.approx(1, rel=1e-3)


def test_tokens_that_do_not_count_are_no_targets(
    new_strategy: Callable[[str], Objective],
    wave_batch: Callable[..., ViewBatch],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    objective = new_strategy("ijepa").eval()
    assert isinstance(objective, IjepaObjective)
    valid = torch.ones(4, 32, 32, dtype=torch.bool)
    valid[:, :, 16:] = False
    batch = wave_batch(range(4), 1)._replace(valid=valid)
    expected = objective(batch)["features"]
    honest = objective.target.forward

    def spoiled(pixel_values: torch.Tensor) -> object:
        output = honest(pixel_values=pixel_values)
        tokens = output.last_hidden_state[:, 5:].unflatten(1, (4, 4))
        tokens[:, :, 2:] = float("nan")
        return output

    monkeypatch.setattr(objective.target, "forward", spoiled)
    assert torch.equal(objective(batch)["features"], expected)
    assert bool(objective(batch._replace(valid=torch.ones_like(valid)))["features"].isnan())


def test_the_target_follows_the_student(
    new_strategy: Callable[[str], Objective],
) -> None:
    objective = new_strategy("ijepa")
    assert isinstance(objective, IjepaObjective)
    with torch.no_grad():
        objective.student.norm.bias += 1
    objective.after_step(5, 10)  # half of the way from 0.9 to 1
    torch.testing.assert_close(objective.target.network.norm.bias, torch.full((32,), 0.05))


def test_an_image_too_small_is_refused(new_strategy: Callable[[str], Objective]) -> None:
    student = new_strategy("ijepa").student
    from modeling_zen import ZenImageProcessor

    with pytest.raises(UserError, match=r"4 targets of up to 1 patches can cover .* 2 x 2 patches of images of 16 pix"):
        IjepaObjective(student, ZenImageProcessor(), IjepaConfig(), 32, (16,))

"""What holds for every strategy without teachers."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from training.diagnostics.effective_rank import effective_rank
from training.loader import ViewBatch
from training.objectives import STRATEGIES, Objective
from training.objectives.dino import DinoObjective
from training.objectives.moco import MocoObjective
from training.objectives.momentum_copy import MomentumCopy
from training.optimization import OptimizerConfig, build_optimizer

Waves = Callable[..., ViewBatch]
New = Callable[[str], Objective]

NAMES = ("dino", "ijepa", "mae", "moco", "supervised")


def train(objective: Objective, batches: list[ViewBatch], lr: float = 3e-3) -> None:
    trained = [each for each in objective.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=lr)
    for step, batch in enumerate(batches, 1):
        torch.stack(list(objective(batch).values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        objective.after_step(step, len(batches))


def held_out(batch: ViewBatch) -> ViewBatch:
    return batch._replace(numbers=-1 - batch.numbers)


def test_every_strategy_without_teachers_is_tested_here() -> None:
    assert set(STRATEGIES.names()) == {*NAMES, "distillation"}
    assert [name for name in STRATEGIES.names() if STRATEGIES.get(name).needs_teachers] == ["distillation"]


@pytest.mark.parametrize("name", NAMES)
def test_every_trainable_parameter_gets_a_gradient_and_no_copy_is_trainable(
    name: str, new_strategy: New, wave_batch: Waves
) -> None:
    objective = new_strategy(name)
    torch.stack(list(objective(wave_batch(range(6), 1, objective.crops)).values())).sum().backward()
    copied = [part for part in objective.modules() if isinstance(part, MomentumCopy)]
    assert len(copied) == {"dino": 3, "ijepa": 1, "moco": 2}.get(name, 0)
    frozen = {id(parameter) for part in copied for parameter in part.parameters()}
    for key, parameter in objective.named_parameters():
        assert parameter.requires_grad == (id(parameter) not in frozen), key
        assert (parameter.grad is not None) == parameter.requires_grad, key
    silent = [key for key, each in objective.student.named_parameters() if not each.grad.abs().sum() > 0]
    # Adding the same to all keys of an attention changes nothing; rotary positions spoil that for all but the slowest.
    assert [key for key in silent if not key.endswith("k_proj.bias")] == []
    optimizer = build_optimizer(objective, OptimizerConfig())
    assert not frozen & {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}


@pytest.mark.parametrize("name", NAMES)
def test_losses_are_a_function_of_weights_and_batch(name: str, new_strategy: New, wave_batch: Waves) -> None:
    first, second = new_strategy(name).eval(), new_strategy(name).eval()
    batch = held_out(wave_batch(range(6), 1, first.crops))
    losses, before = first(batch), {key: value.clone() for key, value in second.state_dict().items()}
    torch.rand(3)  # whatever others draw
    for again in (second(batch), second(batch)):
        assert losses.keys() == again.keys()
        assert all(torch.equal(loss, again[key]) for key, loss in losses.items())
    # measuring moves nothing
    assert all(torch.equal(value, before[key]) for key, value in second.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_the_state_dict_holds_all_that_later_steps_depend_on(name: str, new_strategy: New, wave_batch: Waves) -> None:
    whole, resumed = new_strategy(name), new_strategy(name)
    batches = [wave_batch(range(seed, seed + 6), seed, whole.crops) for seed in range(1, 5)]
    optimizers = []
    for objective in (whole, resumed):
        for layer in objective.student.layers:
            layer.drop_path.rate = 0.0  # it draws from the global generator, which checkpoints save
        optimizers.append(torch.optim.SGD([each for each in objective.parameters() if each.requires_grad], lr=0.1))

    def steps(objective: Objective, optimizer: torch.optim.Optimizer, which: range) -> None:
        for step in which:
            torch.stack(list(objective(batches[step]).values())).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            objective.after_step(step + 1, 4)

    steps(whole, optimizers[0], range(2))
    resumed.load_state_dict(whole.state_dict(), strict=True)
    steps(whole, optimizers[0], range(2, 4))
    steps(resumed, optimizers[1], range(2, 4))
    other = resumed.state_dict()
    assert all(torch.equal(value, other[key]) for key, value in whole.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_may_have_another_resolution(name: str, new_strategy: New, wave_batch: Waves) -> None:
    objective = new_strategy(name)
    shown: list[int] = []
    objective.student.embeddings.register_forward_pre_hook(lambda _, given: shown.append(given[0].shape[-1]))
    losses = objective(wave_batch(range(4), 1, objective.crops)._replace(image_size=48))
    assert 48 in shown
    assert all(bool(loss.isfinite()) for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()


@pytest.mark.parametrize("name", NAMES)
def test_an_image_without_a_valid_pixel_changes_nothing(name: str, new_strategy: New, wave_batch: Waves) -> None:
    results = []
    for last in (4, 11):  # two different last images
        objective = new_strategy(name).eval()
        batch = wave_batch([0, 1, 2, 3, last], 1, objective.crops)
        valid = torch.ones(5, 32, 32, dtype=torch.bool)
        valid[4] = False
        objective.train()
        objective.student.eval()
        losses = objective(batch._replace(valid=valid))
        torch.stack(list(losses.values())).sum().backward()
        gradient = objective.student.norm.weight.grad
        # The queue also holds what nobody will look at: keys of no clip.
        state = {key: value for key, value in objective.named_buffers() if key != "queue"}
        results.append([*losses.values(), gradient, *state.values()])
    for first, second in zip(*results, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)
    objective = new_strategy(name)
    nothing = objective(batch._replace(valid=torch.zeros(5, 32, 32, dtype=torch.bool)))
    assert all(float(loss.detach()) == 0 for loss in nothing.values())
    torch.stack(list(nothing.values())).sum().backward()
    assert all(bool(each.grad.isfinite().all()) for each in objective.parameters() if each.grad is not None)


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_and_does_not_collapse(name: str, new_strategy: New, wave_batch: Waves) -> None:
    objective = new_strategy(name)
    steps, images = {"dino": (100, 32), "moco": (80, 32)}.get(name, (60, 16))
    drawn = [torch.randperm(48, generator=torch.Generator().manual_seed(step))[:images] for step in range(steps)]
    batches = [wave_batch(clips.tolist(), step + 1, objective.crops) for step, clips in enumerate(drawn)]
    train(objective, batches, lr=2e-3 if name == "dino" else 3e-3)
    unseen = held_out(wave_batch(range(100, 132), 0, objective.crops))
    objective.eval()
    with torch.no_grad():
        losses = {key: float(loss) for key, loss in objective(unseen).items()}
        output = objective.student(pixel_values=objective.pixels(unseen.images, 32))
        chance = chance_levels(objective, unseen)
    for key, limit in MARGIN[name].items():
        assert losses[key] < limit * chance[key], (key, losses, chance)
    assert rank_of(output.pooler_output) > 3
    assert rank_of(output.last_hidden_state[:, 5:].flatten(0, 1)) > 4


# Largest loss in parts of the chance level.
MARGIN = {
    "mae": {"pixels": 0.7},
    "ijepa": {"features": 0.4},
    "moco": {"contrast": 0.85},
    "dino": {"dino": 0.96, "ibot": 0.7},
    "supervised": {"procedure": 0.5},
}


def chance_levels(objective: Objective, batch: ViewBatch) -> dict[str, float]:
    """What the best constant prediction scores."""
    if isinstance(objective, MocoObjective):  # 32 images of other clips in two views, and the queue
        return {"contrast": float(np.log(1 + 2 * 31 + 64))}
    if isinstance(objective, DinoObjective):  # the mean of what the teacher says
        output = objective.teacher(pixel_values=objective.pixels(batch.images, 32))
        summaries = objective.summaries.softmax(objective.summaries.teacher_head(output.pooler_output))
        patches = objective.patches.softmax(
            objective.patches.teacher_head(output.last_hidden_state[:, 5:].flatten(0, 1))
        )
        return {"dino": entropy(summaries.mean(dim=0)), "ibot": entropy(patches.mean(dim=0))}
    return {"pixels": 1.0, "features": 1.0, "procedure": float(np.log(8))}


def entropy(shares: Tensor) -> float:
    return float(-(shares * shares.log()).sum())


def rank_of(features: Tensor) -> float:
    return effective_rank(np.linalg.eigvalsh(np.cov(features.double().numpy().T)))

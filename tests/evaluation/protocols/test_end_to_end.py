from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evaluation.datasets import FrameReference
from evaluation.protocols.end_to_end import (
    FinetuneSettings,
    drawn_frames,
    planned_steps,
    samples_per_step,
    train,
)
from evaluation.protocols.headed_network import HeadedNetwork
from evaluation.protocols.pixels import Pixels
from evaluation.protocols.problem import Samples
from training.errors import UserError

from .small_problem import SIZE, TARGETS, PatchNetwork, make_problem, seeded


def blank(count: int, frames: int) -> Samples:
    own = tuple(FrameReference(Path("x"), index) for index in range(frames))
    return Samples((own,) * count, ("a",) * count, ("a",) * count, np.zeros(count), np.zeros(count, np.int64))


@pytest.mark.parametrize(
    ("count", "frames", "batch", "steps"),
    [
        (1000, 1, 32, 313),  # 10 * 1000 / 32
        (5, 1, 5, 50),  # the fewest
        (100_000, 1, 32, 3000),  # the most
        (1000, 100, 4, 2500),  # 8 of 100 frames, so 4 samples a step
        (1000, 5, 6, 1667),
    ],
)
def test_steps_follow_the_samples(count: int, frames: int, batch: int, steps: int) -> None:
    samples = blank(count, frames)
    assert samples_per_step(samples, FinetuneSettings()) == batch
    assert planned_steps(samples, FinetuneSettings()) == steps


def test_one_frame_is_drawn_from_each_equal_part() -> None:
    rng = np.random.default_rng(0)
    assert drawn_frames(3, 4, rng).tolist() == [0, 1, 2]
    drawn = np.stack([drawn_frames(10, 4, rng) for _ in range(200)])
    for column, part in enumerate(([0, 1], [2, 3, 4], [5, 6], [7, 8, 9])):
        assert sorted(set(drawn[:, column])) == part


def test_the_head_learns_faster_than_the_network_and_rates_follow_the_schedule(tmp_path: Path) -> None:
    """The first step of AdamW changes every number by its learning rate, whatever the gradient."""
    samples = make_problem(tmp_path, "single").train
    model = HeadedNetwork(seeded(PatchNetwork), 3)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    settings = FinetuneSettings(weight_decay=0.0)
    with Pixels(SIZE) as pixels:
        pixels.add(frame for frames in samples.frames for frame in frames)
        next(iter(train(model, TARGETS["single"], samples, pixels, settings, steps=50, seed=0)))
    moved = {name: float((weight.detach() - before[name]).abs().max()) for name, weight in model.named_parameters()}
    for name, distance in moved.items():
        peak = 1e-3 if name.startswith("head") else 5e-5
        assert distance == pytest.approx(peak / 5, rel=0.02), name  # the first of five steps of warm-up


def test_frozen_parameters_get_no_update(tmp_path: Path) -> None:
    samples = make_problem(tmp_path, "multi").train
    model = HeadedNetwork(seeded(PatchNetwork), 2)
    model.network.requires_grad_(False)
    before = {name: weight.clone() for name, weight in model.network.state_dict().items()}
    with Pixels(SIZE) as pixels:
        pixels.add(frame for frames in samples.frames for frame in frames)
        assert list(train(model, TARGETS["multi"], samples, pixels, FinetuneSettings(), steps=3, seed=0)) == [1, 2, 3]
    assert all(torch.equal(weight, before[name]) for name, weight in model.network.state_dict().items())


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    samples = make_problem(tmp_path, "single").train
    model = HeadedNetwork(seeded(PatchNetwork), 3)
    with torch.no_grad():
        model.head[1].weight[0, 0] = torch.nan
    with Pixels(SIZE) as pixels:
        pixels.add(frame for frames in samples.frames for frame in frames)
        with pytest.raises(
            UserError,
            match=r"^the loss of step 1 of 9 of fine-tuning is not finite; lower finetune\.backbone_lr \(5e-05\) or",
        ):
            next(iter(train(model, TARGETS["single"], samples, pixels, FinetuneSettings(), steps=9, seed=0)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"checks": 0}, r"^finetune\.checks must be at least 1, got 0$"),
        ({"max_steps": 20}, r"^finetune\.max_steps is 20, below finetune\.min_steps, 50$"),
        ({"head_lr": 0.0}, r"^finetune\.head_lr must be above 0, got 0\.0$"),
    ],
)
def test_settings_out_of_range(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        FinetuneSettings(**fields)

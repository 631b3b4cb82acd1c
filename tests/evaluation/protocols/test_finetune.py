import json
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.datasets.samples import Kind
from evaluation.protocols import finetune
from evaluation.protocols.end_to_end import FinetuneSettings
from evaluation.protocols.pixels import Pixels
from evaluation.protocols.problem import Problem
from training.errors import UserError

from .small_problem import SIZE, PatchNetwork, make_problem, seeded

SHORT = FinetuneSettings(min_steps=20, max_steps=20, checks=2, backbone_lr=1e-3, head_lr=5e-3)


def fit(problem: Problem, pixels: Pixels, seed: int = 0, settings: FinetuneSettings = SHORT) -> tuple:
    return finetune.fit(seeded(PatchNetwork), problem, seed, pixels=pixels, settings=settings)


@pytest.mark.parametrize("kind", ["single", "multi", "value"])
@pytest.mark.parametrize("with_val", [False, True])
def test_colors_are_learned(kind: Kind, with_val: bool, tmp_path: Path) -> None:
    problem = make_problem(tmp_path, kind, with_val=with_val)
    with Pixels(SIZE) as pixels:
        scores, chosen, details = fit(problem, pixels)
        assert pixels.decoded == 28
    truth = problem.test.targets
    assert scores.shape == (8, len(problem.target.classes))
    assert scores.dtype == np.float32
    if kind == "single":
        assert (scores.argmax(axis=1) == truth).all()
    elif kind == "multi":
        assert ((scores > 0) == truth).mean() >= 0.9
    else:
        assert np.abs(scores - truth).mean() < 5  # the values are 100, 110 and 120
    assert chosen.chosen_on == ("validation cases" if with_val else "train folds by case")
    assert chosen.values["steps"] in (10, 20)
    assert (details["planned_steps"], details["precision"]) == (20, "float32")
    json.dumps(details)


def test_equal_seeds_give_equal_scores_and_global_state_stays(tmp_path: Path) -> None:
    problem = make_problem(tmp_path, "single", frames=2)
    network = seeded(PatchNetwork)
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    random_state = torch.get_rng_state()
    with Pixels(SIZE) as pixels:
        first, again, other = (
            finetune.fit(network, problem, seed, pixels=pixels, settings=SHORT)[0] for seed in (0, 0, 1)
        )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(weight, before[name]) for name, weight in network.state_dict().items())
    assert all(weight.grad is None for weight in network.parameters())


def test_the_best_check_on_validation_cases_answers(tmp_path: Path) -> None:
    """As if trained exactly so long: the later steps have left nothing behind."""
    problem = make_problem(tmp_path, "single", with_val=True)
    swapped = Problem(problem.target, problem.train, problem.test, problem.val)
    with Pixels(SIZE) as pixels:
        scores, chosen, _ = fit(swapped, pixels)
        assert chosen.values["steps"] == 10  # perfect by then, and the first among equals counts
        _, _, _, model = finetune.adapt(
            seeded(PatchNetwork),
            lambda: finetune.HeadedNetwork(seeded(PatchNetwork), 3),
            swapped,
            0,
            pixels=pixels,
            settings=SHORT,
        )
        assert np.array_equal(model.answers(swapped.test, pixels), scores)
        torch.manual_seed(0)
        alone = finetune.HeadedNetwork(seeded(PatchNetwork), 3)
        for step in finetune.train(alone, swapped.target, swapped.train, pixels, SHORT, steps=20, seed=0):
            if step == 10:
                break
        assert np.allclose(alone.answers(swapped.test, pixels), scores, atol=1e-6)


def test_targets_of_the_test_side_are_not_looked_at(tmp_path: Path) -> None:
    problem = make_problem(tmp_path, "single")
    spoiled = Problem(problem.target, problem.train, problem.val, problem.test.take(range(8)))
    spoiled.test.targets[:] = 0
    with Pixels(SIZE) as pixels:
        assert np.array_equal(fit(problem, pixels)[0], fit(spoiled, pixels)[0])


def test_a_single_training_case_leaves_nothing_to_choose_on(tmp_path: Path) -> None:
    problem = make_problem(tmp_path, "single", cases=1)
    with Pixels(SIZE) as pixels:
        scores, chosen, _ = fit(problem, pixels)
    assert (chosen.values, chosen.chosen_on) == ({"steps": 20}, "fixed before the run")
    assert np.isfinite(scores).all()


def test_a_size_that_the_network_refuses(tmp_path: Path) -> None:
    class Strict(PatchNetwork):
        def check_size(self, image_size: int) -> None:
            raise UserError(f"image size {image_size} is not a multiple of the patch 7; use 14 or 21 instead")

    with Pixels(SIZE) as pixels, pytest.raises(UserError, match=r"^image size 16 is not a multiple"):
        finetune.fit(Strict(), make_problem(tmp_path, "single"), 0, pixels=pixels, settings=SHORT)

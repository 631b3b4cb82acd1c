from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from evaluation.protocols.pixels import Pixels
from evaluation.protocols.problem import Problem
from evaluation.protocols.prompts import Prompts
from evaluation.protocols.text_aligned import TextAligned
from evaluation.protocols.zero_shot import zero_shot_scores

from .small_problem import COLORS, SIZE, TARGETS, make_problem

PHASES = TARGETS["single"].classes
WORDS = {name: np.array(color, np.float32) - 100 for name, color in zip(PHASES, COLORS, strict=True)}
WORDS |= {"grasper": WORDS["dissection"], "hook": WORDS["packaging"], "no hook": -WORDS["packaging"]}


def unit(rows: np.ndarray) -> Tensor:
    return torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float32), dim=1)


def images(frames: np.ndarray) -> Tensor:
    return unit(frames.astype(np.float32).mean(axis=(1, 2)) - 100)


def texts(sentences: Sequence[str]) -> Tensor:
    return unit(np.stack([WORDS[sentence.removeprefix("an image of ")] for sentence in sentences]))


CLASSIFIER = TextAligned("colors", images, texts, 5.0)


def prompts_for(*names: str, **opposites: tuple[str, ...]) -> Prompts:
    return Prompts(("{}", "an image of {}"), {name: (name,) for name in names}, opposites, "0" * 64)


@pytest.mark.parametrize("frames", [1, 3])
def test_the_nearest_prompt_names_the_class(frames: int, tmp_path: Path) -> None:
    problem = make_problem(tmp_path, "single", frames=frames)
    with Pixels(SIZE) as pixels:
        scores, chosen, details = zero_shot_scores(CLASSIFIER, problem, prompts_for(*PHASES), pixels=pixels)
        assert pixels.decoded == 8 * frames  # the test side alone
        means = torch.stack(
            [torch.nn.functional.normalize(images(pixels.read(own)).mean(dim=0), dim=0) for own in problem.test.frames]
        )
    assert (scores.argmax(axis=1) == problem.test.targets).all()
    assert np.allclose(scores, 5 * means @ texts(PHASES).T, atol=1e-5)
    assert (dict(chosen.values), chosen.chosen_on) == ({}, "fixed before the run")
    assert details == {"text_model": "colors", "prompts": 6, "prompts_sha256": "0" * 64}


def test_columns_of_several_labels_are_above_the_mean_of_the_others_or_above_their_opposite(tmp_path: Path) -> None:
    problem = make_problem(tmp_path, "multi")
    with Pixels(SIZE) as pixels:
        plain = zero_shot_scores(CLASSIFIER, problem, prompts_for("grasper", "hook"), pixels=pixels)[0]
        prompts = prompts_for("grasper", "hook", hook=("no hook",))
        opposed, _, details = zero_shot_scores(CLASSIFIER, problem, prompts, pixels=pixels)
        own = images(pixels.read([frames[0] for frames in problem.test.frames])).numpy()
    grasper, hook = (own @ texts([name])[0].numpy() for name in ("grasper", "hook"))
    assert np.allclose(plain, 5 * np.stack([grasper - hook, hook - grasper], axis=1), atol=1e-5)
    assert np.allclose(opposed, 5 * np.stack([grasper - hook, hook + hook], axis=1), atol=1e-5)
    assert details["prompts"] == 6


def test_values_have_no_prompts(tmp_path: Path) -> None:
    problem: Problem = make_problem(tmp_path, "value")
    with Pixels(SIZE) as pixels, pytest.raises(ValueError, match=r"^skill is a value: prompts name classes$"):
        zero_shot_scores(CLASSIFIER, problem, prompts_for("score"), pixels=pixels)

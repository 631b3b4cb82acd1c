import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from evaluation.protocols.problem import Problem, Samples
from evaluation.protocols.training_loop import Learner, Loader, fit_by_steps
from tests.evaluation.protocols.probe_problem import make_problem, make_targets


class Line(nn.Module):
    """A linear map that begins at 0 and counts the steps it is trained for."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.map = nn.Linear(width, 3)
        nn.init.zeros_(self.map.weight)
        self.batches: list[int] = []

    def forward(self, rows: Tensor) -> Tensor:
        if self.training:
            self.batches.append(len(rows))
        return self.map(rows)[None]


def learner_of(built: list[Line], problem: Problem, features: np.ndarray, **changes: object) -> Learner:
    def build() -> Line:
        built.append(Line(features.shape[1]))
        return built[-1]

    def open_samples(samples: Samples) -> Loader:
        index = [frames[0].frame_index for frames in samples.frames]
        return lambda rows: (torch.from_numpy(features[index][rows]),)

    learner = Learner(
        build=build,
        open=open_samples,
        units=lambda samples: list(np.arange(len(samples))[:, None]),
        recipes=((1e-2, 0.1), (1e-1, 0.0)),
        passes=3,
        steps=(4, 100),
        batch=8,
        score_batch=5,
    )
    return dataclasses.replace(learner, **changes)


def test_steps_follow_the_units_between_two_limits() -> None:
    _, problem = make_problem(make_targets("single", 48), "single")
    learner = learner_of([], problem, np.zeros((48, 2), np.float32))
    assert [learner.steps_for(units) for units in (1, 8, 9, 80, 10_000)] == [4, 4, 6, 30, 100]


def test_every_training_sees_what_it_should() -> None:
    """Folds of 3 over 4 cases of 8: fits on 16, 24 and 24 rows with each of 2 recipes, then on all 32."""
    inputs, problem = make_problem(make_targets("single", 48), "single")
    built: list[Line] = []
    everything = problem.train + problem.test
    scores, chosen = fit_by_steps(learner_of(built, problem, inputs.pooled(everything)), problem, 0)
    assert scores.shape == (16, 3)
    assert len(built) == 3 * 2 + 1
    steps = [len(line.batches) for line in built]
    assert sorted(steps[:6]) == [6, 6, 9, 9, 9, 9]
    assert steps[6] == int(np.ceil(12 * float(chosen.values["stop"])))
    assert (scores.argmax(axis=1) == problem.test.targets).mean() > 0.9


def test_with_validation_cases_the_final_training_repeats_the_chosen_one() -> None:
    inputs, problem = make_problem(make_targets("single", 48), "single", sides=(3, 1, 2))
    built: list[Line] = []
    features = inputs.pooled(problem.train + problem.val + problem.test)
    _, chosen = fit_by_steps(learner_of(built, problem, features, recipes=((1e-1, 0.0),)), problem, 0)
    assert chosen.chosen_on == "validation cases"
    assert len(built) == 2
    if float(chosen.values["stop"]) == 1.0:
        assert torch.equal(built[0].map.weight, built[1].map.weight)
    assert built[0].batches[: len(built[1].batches)] == built[1].batches


def test_values_are_learned_in_units_of_their_deviation_and_given_in_their_own() -> None:
    targets = make_targets("value", 48) * np.array([1, 1000, 0.001], np.float32)
    inputs, problem = make_problem(targets, "value")
    features = inputs.pooled(problem.train + problem.test)
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    learner = learner_of([], problem, features, steps=(100, 100))
    scores, _ = fit_by_steps(learner, problem, 0)
    for column in range(3):
        assert np.corrcoef(scores[:, column], problem.test.targets[:, column])[0, 1] > 0.9
        assert scores[:, column].std() == pytest.approx(problem.test.targets[:, column].std(), rel=0.5)


def test_held_out_units_above_the_limit_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.protocols.training_loop.UNITS_TO_SCORE", 5)
    inputs, problem = make_problem(make_targets("single", 48), "single")
    features = inputs.pooled(problem.train + problem.test)
    fits = [fit_by_steps(learner_of([], problem, features), problem, 0) for _ in range(2)]
    assert np.array_equal(fits[0][0], fits[1][0])
    assert fits[0][1].chosen_on == "train folds by case"

"""The loop behind every probe that is a small network: choose on inner folds, train on the train side, score the test.

Steps and not epochs are counted, between two limits: a handful of samples needs enough steps to fit at all, and beyond
some tens of thousands of samples more passes over near copies of each other only cost time. Early stopping is one of
the things chosen: held-out rows are scored at a quarter, at half and at the end of the schedule, and the final training
stops at the same share.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor, nn

from evaluation.datasets.samples import Kind
from evaluation.protocols.criterion import choose_held_out, columns
from evaluation.protocols.folds import draw_rows, inner_folds
from evaluation.protocols.losses import loss_of, truncated_smoothing
from evaluation.protocols.problem import Problem, Samples
from evaluation.protocols.selection import Chosen

FOLDS = 3
STOPS = (0.25, 0.5, 1.0)  # share of the schedule after which training may stop
UNITS_TO_SCORE = 4_000  # of each inner fold, a seeded draw above this

Loader = Callable[[np.ndarray], tuple[Tensor, ...]]  # rows int (n,) -> arguments of the network, on the CPU


@dataclass(frozen=True)
class Learner:
    """A kind of network as the loop sees it. A unit is what must stay together: a sample, or a video.

    Attributes:
        build: a new network with weights from the global random state; `network(*arguments)` gives float scores of the
            rows at each stage, (stages, n, C), the last of which counts.
        open: samples -> a loader of the network's arguments for rows of them.
        units: samples -> the rows of each unit.
        recipes: learning rate and weight decay of AdamW, pairs to choose from, the more cautious first.
        passes: over the units of a training side, between the limits on steps.
        steps: the fewest and the most steps of one training; the cosine schedule ends there.
        batch: units a step.
        score_batch: units at once where nothing is trained.
        smoothing: weight of the smoothing loss at each stage; needs a batch of one.
    """

    build: Callable[[], nn.Module]
    open: Callable[[Samples], Loader]
    units: Callable[[Samples], Sequence[np.ndarray]]
    recipes: tuple[tuple[float, float], ...]
    passes: int
    steps: tuple[int, int]
    batch: int
    score_batch: int
    smoothing: float = 0.0

    def steps_for(self, units: int) -> int:
        """Steps of the whole schedule for a training side of that many units."""
        return min(max(self.passes * math.ceil(units / self.batch), self.steps[0]), self.steps[1])


@dataclass(frozen=True)
class _Side:
    """Units of samples, behind the loader of these samples."""

    load: Loader
    units: Sequence[np.ndarray]

    def scores(self, network: nn.Module, score_batch: int, device: torch.device) -> np.ndarray:
        """Scores of the last stage of all units, one after the other: float32 (n, C)."""
        network.eval()
        with torch.inference_mode():
            batches = (self.units[start : start + score_batch] for start in range(0, len(self.units), score_batch))
            scores = [network(*_arguments(self.load, batch, device))[-1].cpu().numpy() for batch in batches]
        network.train()
        return np.concatenate(scores)


def fit_by_steps(learner: Learner, problem: Problem, seed: int) -> tuple[np.ndarray, Chosen]:
    """Choose recipe and stop on inner folds, train on the whole train side, score the test side.

    Args:
        learner: see the class.
        problem: values are learned in units of their training deviation.
        seed: of weights, order, dropout and draws.

    Returns:
        float32 (N_test, C), and what was chosen.
    """
    samples, folds, chosen_on = inner_folds(problem, FOLDS)
    targets, count = columns(problem.target, samples.targets), len(problem.train)
    center, spread = np.zeros(targets.shape[1], np.float32), np.ones(targets.shape[1], np.float32)
    if problem.target.kind == "value":
        center, deviation = targets[:count].mean(axis=0), targets[:count].std(axis=0)
        spread = np.where(deviation > 0, deviation, spread)
    wanted = torch.from_numpy((targets - center) / spread)
    load, rng = learner.open(samples), np.random.default_rng(seed)

    held_out = np.full((len(STOPS), len(learner.recipes), *targets.shape), np.nan, dtype=np.float32)
    for fit, score in folds:
        fitted, asked = (_units_within(learner, samples, side) for side in (fit, score))
        asked = [asked[unit] for unit in draw_rows(rng, np.arange(len(asked)), UNITS_TO_SCORE)]
        sides = _Side(load, fitted), _Side(load, asked)
        for index, recipe in enumerate(learner.recipes):
            scores = _train(learner, problem.target.kind, *sides, wanted, recipe, STOPS, seed)
            held_out[:, index, np.concatenate(asked)] = scores * spread + center
    candidates = [
        {"stop": stop, "learning_rate": rate, "weight_decay": decay}
        for stop in STOPS
        for rate, decay in learner.recipes
    ]
    flat = held_out.reshape(len(candidates), *targets.shape)
    chosen = choose_held_out(candidates, flat, problem.target, samples.targets, chosen_on)

    stop, rate, decay = (float(chosen.values[name]) for name in ("stop", "learning_rate", "weight_decay"))
    fitted = _units_within(learner, samples, np.arange(count))
    sides = _Side(load, fitted), _Side(learner.open(problem.test), learner.units(problem.test))
    scores = _train(learner, problem.target.kind, *sides, wanted, (rate, decay), [stop], seed)
    return scores[0] * spread + center, chosen


def _units_within(learner: Learner, samples: Samples, rows: np.ndarray) -> list[np.ndarray]:
    return [rows[unit] for unit in learner.units(samples.take(rows))]


def _train(
    learner: Learner,
    kind: Kind,
    fitted: _Side,
    asked: _Side,
    wanted: Tensor,
    recipe: tuple[float, float],
    stops: Sequence[float],
    seed: int,
) -> np.ndarray:
    """Train on one side and score the other at every stop: float32 (stops, n, C). `wanted` is (N, C), of all rows."""
    device = torch.device(PartialState().device)
    loss = loss_of(kind, wanted[np.concatenate(fitted.units)].to(device))
    total = learner.steps_for(len(fitted.units))
    ends = [math.ceil(stop * total) for stop in stops]
    scores = []
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        network = learner.build().to(device)
        optimizer = torch.optim.AdamW(network.parameters(), lr=recipe[0], weight_decay=recipe[1], fused=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
        for step, batch in enumerate(_batches(fitted.units, learner.batch, ends[-1], seed), start=1):
            truth = wanted[np.concatenate(batch)].to(device)
            losses = [
                loss(stage, truth) + (learner.smoothing * truncated_smoothing(kind, stage) if learner.smoothing else 0)
                for stage in network(*_arguments(fitted.load, batch, device))
            ]
            optimizer.zero_grad()
            torch.stack(losses).sum().backward()
            optimizer.step()
            schedule.step()
            if step in ends:
                scores.append(asked.scores(network, learner.score_batch, device))
    return np.stack(scores)


def _arguments(load: Loader, batch: Sequence[np.ndarray], device: torch.device) -> list[Tensor]:
    return [argument.to(device) for argument in load(np.concatenate(batch))]


def _batches(units: Sequence[np.ndarray], size: int, steps: int, seed: int) -> Iterator[list[np.ndarray]]:
    """`steps` batches: one shuffled pass over the units after the other."""
    rng = np.random.default_rng(seed)
    starts = range(0, len(units), size)
    while steps > 0:
        order = rng.permutation(len(units))
        for start in starts[:steps]:
            yield [units[index] for index in order[start : start + size]]
        steps -= len(starts)

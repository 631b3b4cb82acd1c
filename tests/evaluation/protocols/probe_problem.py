"""Small problems whose features are made up: what the tests of probes share."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np

from evaluation.datasets import FrameReference
from evaluation.datasets.samples import Kind, Target
from evaluation.features import FeatureStore
from evaluation.frames import AnyFrame
from evaluation.protocols.inputs import Inputs
from evaluation.protocols.problem import Problem, Samples

CLASSES = ("a", "b", "c")
SUMMARY, DENSE, GRID = 6, 10, 2


class ArrayStore:
    """The reading side of a feature store over two arrays; the index of a frame is its row."""

    def __init__(self, summary: np.ndarray, coarse: np.ndarray) -> None:
        self._summary, self._coarse = summary.astype(np.float32), coarse.astype(np.float32)

    def summary(self, backbone: str, frames: Sequence[AnyFrame]) -> np.ndarray:
        return self._summary[[frame.frame_index for frame in frames]]

    def mean_dense(self, backbone: str, frames: Sequence[AnyFrame]) -> np.ndarray:
        return self.coarse(backbone, frames).mean(axis=(2, 3))

    def coarse(self, backbone: str, frames: Sequence[AnyFrame]) -> np.ndarray:
        return self._coarse[[frame.frame_index for frame in frames]]


def make_targets(kind: Kind, count: int, seed: int = 0) -> np.ndarray:
    """Random targets of `count` samples, every class about as often as the others."""
    rng = np.random.default_rng(seed)
    if kind == "single":
        return rng.permutation(np.arange(count) % len(CLASSES))
    if kind == "multi":
        return rng.random((count, len(CLASSES))) < 0.4
    return (50 + 20 * rng.standard_normal((count, len(CLASSES)))).astype(np.float32)


def make_problem(
    targets: np.ndarray,
    kind: Kind,
    *,
    sides: tuple[int, int, int] = (4, 0, 2),
    told: np.ndarray | None = None,
    frames: int = 1,
    noise: float = 0.3,
) -> tuple[Inputs, Problem]:
    """Cases of equal size, each one video; features tell `told` (the targets by default), with noise.

    Args:
        targets: of all samples, in order of the cases.
        kind: of the targets.
        sides: cases of train, val and test.
        told: targets that the features are made from.
        frames: of each sample.
        noise: deviation, beside a deviation of about 1 of what is told.
    """
    rng = np.random.default_rng(1)
    told, count = targets if told is None else told, len(targets)
    columns = np.eye(len(CLASSES))[told] if kind == "single" else told.astype(np.float64)
    columns = (columns - columns.mean(axis=0)) / columns.std(axis=0)
    signal = np.repeat(columns @ rng.standard_normal((len(CLASSES), SUMMARY + DENSE)), frames, axis=0)
    summary = 5 + signal[:, :SUMMARY] + noise * rng.standard_normal((count * frames, SUMMARY))
    coarse = 5 + signal[:, SUMMARY:, None, None] + noise * rng.standard_normal((count * frames, DENSE, GRID, GRID))
    each = count // sum(sides)
    cases = tuple(f"case{row // each}" for row in range(count))
    references = [FrameReference(Path("frames"), row) for row in range(count * frames)]
    samples = Samples(
        tuple(tuple(references[row * frames : (row + 1) * frames]) for row in range(count)),
        cases,
        cases,
        np.arange(count, dtype=np.float64) % each,
        targets,
    )
    edges = np.cumsum([0, *sides]) * each
    parts = [samples.take(range(start, end)) for start, end in itertools.pairwise(edges)]
    store = cast(FeatureStore, ArrayStore(summary, coarse))
    return Inputs(store, "made up"), Problem(Target("made up", kind, CLASSES), *parts)


def balanced_accuracy(problem: Problem, scores: np.ndarray) -> float:
    """Mean recall of the test side's classes."""
    hits, truth = scores.argmax(axis=1) == problem.test.targets, problem.test.targets
    return float(np.mean([hits[truth == number].mean() for number in np.unique(truth)]))

"""Tasks between two datasets: the train side of one, the test side of another, classes brought together by name.

This is what protocol `transfer` measures: does what was learned at one place hold at another? It is no zero-shot
classification, which sees no label at all.
"""

import dataclasses
import hashlib
from collections.abc import Mapping

import numpy as np

from evaluation.datasets.samples import Target
from evaluation.protocols.problem import Problem, Samples
from evaluation.tasks.problems import ProblemTask
from evaluation.tasks.task import TASKS, LoadedTask, Sources, Task
from training.errors import UserError

# From task, to task, and classes of the first that are called otherwise in the second. No train side has an operation
# of the test side; Endoscapes to Cholec80-CVS could: six videos of Endoscapes are Cholec80's.
TRANSFERS: tuple[tuple[str, str, Mapping[str, str]], ...] = (
    ("phase_cholec80", "phase_heichole", {}),
    ("phase_heichole", "phase_cholec80", {}),
    ("phase_m2cai16", "phase_heichole", {}),
    ("cvs_cholec80", "cvs_endoscapes201", {}),
)


def transfer(name: str, source: ProblemTask, goal: ProblemTask, renamed: Mapping[str, str]) -> ProblemTask:
    """The problem of `goal` with the train and validation side of `source`.

    Classes are those of the goal. Samples of the source with a class that the goal lacks are left out, and so are its
    columns where any number of classes may hold; a class of the goal that the source lacks is never learned, and costs.

    Raises:
        UserError: targets of different kinds, or no class in common.
    """
    first, second = source.problem.target, goal.problem.target
    if first.kind != second.kind or first.kind == "value":
        raise UserError(f"task {name!r}: classes are carried over, but the targets are {first.kind} and {second.kind}")
    names = {label: renamed.get(label, label) for label in first.classes}
    places = {label: second.classes.index(name) for label, name in names.items() if name in second.classes}
    if not places:
        raise UserError(f"task {name!r}: {source.dataset} and {goal.dataset} have no class in common")
    sides = (source.problem.train, source.problem.val)
    train, val = (_carried(source.dataset, side, first, second, places) for side in sides)
    digest = hashlib.sha256(f"{source.data_sha256} {goal.data_sha256}".encode()).hexdigest()
    problem = Problem(second, train, val, goal.problem.test)
    split = f"{source.split.name} to {goal.split.name}"
    origin = f"train: {source.dataset}, {source.split.source}; test: {goal.dataset}, {goal.split.source}"
    return ProblemTask(name, goal.family, goal.dataset, digest, problem, split, origin)


def _carried(dataset: str, side: Samples, before: Target, after: Target, places: Mapping[str, int]) -> Samples:
    """The samples with targets of the other dataset's classes, and cases that cannot be taken for its cases."""
    side = dataclasses.replace(side, cases=tuple(f"{dataset} {case}" for case in side.cases))
    if before.kind == "multi":
        targets = np.zeros((len(side), len(after.classes)), dtype=bool)
        for label, place in places.items():
            targets[:, place] = side.targets[:, before.classes.index(label)]
        return dataclasses.replace(side, targets=targets)
    lookup = np.array([places.get(label, -1) for label in before.classes])
    targets = lookup[side.targets].astype(np.int64)
    return dataclasses.replace(side, targets=targets).take(np.flatnonzero(targets >= 0))


def _register(first: str, second: str, renamed: Mapping[str, str]) -> None:
    source, goal = TASKS.get(first), TASKS.get(second)
    name = f"transfer_{first}_to_{goal.source}"

    def load(sources: Sources, split: str | None) -> LoadedTask:
        if split is not None:
            raise UserError(f"task {name!r} has no splits to choose from")
        pair = [task.load(sources, None) for task in (source, goal)]
        if not isinstance(pair[0], ProblemTask) or not isinstance(pair[1], ProblemTask):
            raise TypeError(f"{name} is not between two problems")
        return transfer(name, pair[0], pair[1], renamed)

    both = f"{source.source} -> {goal.source}"
    licence = source.licence if source.licence == goal.licence else f"{source.licence}; {goal.licence}"
    TASKS.register(name)(
        Task(
            name,
            goal.family,
            goal.probes,
            both,
            licence,
            f"{source.obtain}; {goal.obtain}",
            lambda sources: source.find(sources) and goal.find(sources),
            load,
            transfer=True,
        )
    )


for _first, _second, _renamed in TRANSFERS:
    _register(_first, _second, _renamed)

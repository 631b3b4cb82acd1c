"""Every dataset, every task and every protocol on one small world; and what happens where the world is damaged."""

from collections.abc import Iterator

import numpy as np
import pytest

from evaluation.datasets import DATASETS, SAMPLE_DATASETS, WORKFLOW_DATASETS
from evaluation.datasets.samples import Target
from evaluation.datasets.workflow import load_split
from evaluation.tasks import TASKS, ProblemTask, Sources
from tests.evaluation.world import World, use_splits
from tests.evaluation.world.cases import CASES

WITHOUT_VALIDATION = {name for name, (_, val, _) in CASES.items() if not val}


@pytest.fixture(autouse=True, scope="module")
def _reduced_splits(world: World) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        use_splits(world, patch)
        yield


def labels_seen(target: Target, targets: np.ndarray) -> int:
    """Classes that occur on a side: columns with positives, or different values."""
    if target.kind == "multi":
        return int(targets.any(axis=0).sum())
    return len(np.unique(targets, axis=0))


@pytest.mark.parametrize("name", WORKFLOW_DATASETS.names())
def test_workflow_readers(name: str, world: World) -> None:
    reader = WORKFLOW_DATASETS.get(name)
    home = reader.find(world.root)
    assert home is not None
    dataset = reader.scan(home, load_split(name), 1.0)
    cases = {
        side: {video.case_id for video in dataset.videos if video.side == side} for side in ("train", "val", "test")
    }
    assert tuple(cases.values()) == tuple(map(set, CASES[name]))
    assert {track.name for track in dataset.tracks} == set(reader.tracks)


@pytest.mark.parametrize("name", SAMPLE_DATASETS.names())
def test_sample_readers(name: str, world: World) -> None:
    reader = SAMPLE_DATASETS.get(name)
    home = reader.find(world.root)
    assert home is not None
    dataset = reader.scan(home, load_split(name) if name in CASES else None)
    if name in CASES:
        found = {side: {each.case_id for each in dataset.samples if each.side == side} for side in ("train", "test")}
        assert (found["train"], found["test"]) == (set(CASES[name][0]), set(CASES[name][2]))
    assert all(frame.path.is_file() for sample in dataset.samples for frame in sample.frames)


@pytest.mark.parametrize("name", DATASETS.names())
def test_record_readers(name: str, world: World) -> None:
    reader = DATASETS.get(name)
    home = reader.find(world.root)
    assert home is not None
    assert {record.split for record in reader.scan(home).records} == {"train", "test"}


@pytest.mark.parametrize("name", [name for name in TASKS.names() if name != "teacher_agreement"])
def test_tasks_load(name: str, world: World) -> None:
    loaded = TASKS.get(name).load(Sources((world.root,), None), None)
    assert loaded.frames
    assert loaded.split.train
    assert loaded.split.test
    if not isinstance(loaded, ProblemTask):
        return
    problem = loaded.problem
    for side in (problem.train, problem.val, problem.test):
        problem.target.check(side.targets)
    assert labels_seen(problem.target, problem.train.targets) >= 2
    assert labels_seen(problem.target, problem.test.targets) >= 2
    assert not set(problem.train.cases) & set(problem.test.cases)

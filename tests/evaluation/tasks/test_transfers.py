"""Tasks between two datasets."""

from pathlib import Path

import numpy as np
import pytest

from evaluation.datasets.workflow import LabeledVideo, Track, WorkflowDataset
from evaluation.tasks import TASKS, ProblemTask
from evaluation.tasks.problems import from_workflow
from evaluation.tasks.transfers import TRANSFERS, transfer
from training.errors import UserError


def task(root: Path, name: str, classes: tuple[str, ...], several: bool = False) -> ProblemTask:
    count = len(classes)
    labels = np.eye(count, dtype=np.int8) if several else np.arange(count)
    videos = tuple(
        LabeledVideo(side, side, root / f"{side}.mp4", 25.0, np.arange(count), {"phase": labels})
        for side in ("train", "val", "test")
    )
    data = WorkflowDataset(name, root, (Track("phase", classes, several),), videos, "tiny", "made up")
    return from_workflow(name, "presence" if several else "phase", data, "phase")


def test_classes_are_brought_together_by_name(tmp_path: Path) -> None:
    source, goal = task(tmp_path, "here", ("rest", "clip", "sew")), task(tmp_path, "there", ("suture", "clip"))
    both = transfer("both", source, goal, {"sew": "suture"})
    assert both.problem.target.classes == ("suture", "clip")
    assert both.problem.train.targets.tolist() == [1, 0]  # "rest" is left out
    assert both.problem.train.frames == source.problem.train.frames[1:]
    assert both.problem.test.frames == goal.problem.test.frames
    assert both.split.train == ("here train",)
    assert (both.split.val, both.split.test) == (("here val",), ("test",))
    assert both.dataset == "there"


def test_columns_that_the_goal_lacks_are_left_out(tmp_path: Path) -> None:
    source, goal = task(tmp_path, "here", ("hook", "clip"), True), task(tmp_path, "there", ("clip", "bag"), True)
    both = transfer("both", source, goal, {})
    assert both.problem.train.targets.tolist() == [[False, False], [True, False]]


def test_what_cannot_be_carried_over_is_refused(tmp_path: Path) -> None:
    single, multi = task(tmp_path, "here", ("a",)), task(tmp_path, "there", ("a",), True)
    with pytest.raises(UserError, match="task 'both': classes are carried over, but the targets are single and multi"):
        transfer("both", single, multi, {})
    with pytest.raises(UserError, match="task 'both': here and elsewhere have no class in common"):
        transfer("both", single, task(tmp_path, "elsewhere", ("b",)), {})


@pytest.mark.parametrize(("first", "second"), [row[:2] for row in TRANSFERS])
def test_every_transfer_is_a_task(first: str, second: str) -> None:
    entry = TASKS.get(f"transfer_{first}_to_{TASKS.get(second).source}")
    assert entry.transfer
    assert entry.family == TASKS.get(second).family

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evaluation.bootstrap import point
from evaluation.datasets import synthetic
from evaluation.datasets.samples import Target
from evaluation.features import extract_features
from evaluation.tasks import TASKS, ProblemTask, Sources
from evaluation.tasks.labels import build
from training.errors import UserError


def load(name: str, folder: Path) -> ProblemTask:
    task = TASKS.get(name).load(Sources((folder,), None), None)
    assert isinstance(task, ProblemTask)
    return task


@pytest.mark.parametrize("probe", ["knn", "linear"])
def test_mean_color_tells_which_tool_is_there(synthetic_folder: Path, mean_color: Any, probe: str) -> None:
    task = load("presence_synthetic", synthetic_folder)
    store = extract_features([mean_color()], task.frames, [], 64, memory_limit=1)
    outcome = task.predict(task.aims([])[0], probe, store, "mean color", 0)
    assert point(outcome.measures[0]) > 0.9
    assert outcome.chosen.chosen_on == "train folds by case"
    constant = task.constant(task.aims([])[0], store).measures[0]
    assert point(constant) == pytest.approx(task.problem.test.targets.mean(axis=0).mean())


def test_the_test_side_does_not_move_the_choice(synthetic_folder: Path, mean_color: Any) -> None:
    task = load("presence_synthetic", synthetic_folder)
    store = extract_features([mean_color()], task.frames, [], 64, memory_limit=1)
    aim = task.aims([])[0]
    before = task.predict(aim, "linear", store, "mean color", 0)
    test = dataclasses.replace(task.problem.test, targets=~task.problem.test.targets)
    task.problem = dataclasses.replace(task.problem, test=test)
    after = task.predict(aim, "linear", store, "mean color", 0)
    assert after.chosen == before.chosen
    assert before.predictions is not None
    assert after.predictions is not None
    assert (after.predictions.scores == before.predictions.scores).all()


def test_view_of_safety(endoscapes_folder: Path) -> None:
    task = load("cvs_endoscapes", endoscapes_folder)
    outcome = task.constant(task.aims([])[0], SimpleNamespace())  # type: ignore[arg-type]
    assert task.problem.target.classes == ("C1", "C2", "C3")
    # two test videos of three stills: C1 from 2/3, C2 never, C3 in the second and third
    assert task.problem.test.targets.sum(axis=0).tolist() == [2, 0, 4]
    assert [each.metric for each in outcome.measures] == ["mean_average_precision", "balanced_accuracy", "f1"]
    assert outcome.measures[0].details()["absent_classes"] == ["C2"]
    assert point(outcome.measures[0]) == pytest.approx((2 / 6 + 4 / 6) / 2)
    assert point(outcome.measures[1]) == pytest.approx(0.5)


def test_no_positive_test_frame(synthetic_folder: Path) -> None:
    dataset = synthetic.scan(synthetic_folder)
    target = Target("presence", "multi", dataset.presence_names)
    with pytest.raises(UserError, match="task 'tools': no test sample of synthetic has any presence"):
        build("tools", "presence", dataset, target, lambda record: (False, False))


def test_no_split_to_choose(synthetic_folder: Path) -> None:
    with pytest.raises(
        UserError, match="'presence_synthetic' has no splits to choose from: dataset 'synthetic' brings"
    ):
        TASKS.get("presence_synthetic").load(Sources((synthetic_folder,), None), "fold2")

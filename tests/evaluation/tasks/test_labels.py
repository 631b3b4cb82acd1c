from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from evaluation.bootstrap import per_case, point
from evaluation.datasets import endoscapes, synthetic
from evaluation.features import extract_features
from evaluation.tasks import cvs, presence
from evaluation.tasks.labels import LabelPrediction, LabelTask
from training.errors import UserError


def test_prediction_by_hand() -> None:
    prediction = LabelPrediction(
        cases=("a", "b"),
        case_index=np.array([0, 0, 1]),
        labels=np.array([[1, 0], [0, 0], [1, 0]], dtype=bool),
        scores=np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.3]]),
        names=("hook", "clipper"),
    )
    assert point(prediction) == pytest.approx(5 / 6)
    assert per_case(prediction) == {"a": 1.0, "b": 1.0}
    # case b twice, a once: ranks are hook 1, other 0, hook 1 (twice): 1/3 * 1 + 2/3 * 3/4
    assert prediction.values(np.array([[1, 2]]))[0] == pytest.approx(1 / 3 + 2 / 3 * 3 / 4)
    assert prediction.details()["absent_classes"] == ["clipper"]
    assert prediction.details()["positives"] == {"hook": 2, "clipper": 0}


@pytest.mark.parametrize("probe", ["knn", "linear"])
def test_mean_color_tells_which_tool_is_there(synthetic_folder: Path, mean_color: Any, probe: str) -> None:
    task = presence.build(synthetic.scan(synthetic_folder))
    store = extract_features([mean_color()], task.frames, [], 64, memory_limit=1)
    variant = task.variants([])[0]
    prediction, chosen = task.predict(variant, probe, store, "mean color", 0)
    assert point(prediction) > 0.9
    assert chosen.chosen_on == "train folds by case"
    constant = task.constant(variant, store)
    assert point(constant) == pytest.approx(constant.labels.mean(axis=0).mean())


def test_the_test_side_does_not_move_the_choice(synthetic_folder: Path, mean_color: Any) -> None:
    dataset = synthetic.scan(synthetic_folder)
    task = presence.build(dataset)
    store = extract_features([mean_color()], task.frames, [], 64, memory_limit=1)
    _, before = task.predict(task.variants([])[0], "linear", store, "mean color", 0)
    features = store.backbones["mean color"]
    rows = [store.rows[record.frame] for record in dataset.records if record.split == "test"]
    features.summary[rows] += 5
    assert task.predict(task.variants([])[0], "linear", store, "mean color", 0)[1] == before


def test_cvs_labels(endoscapes_folder: Path) -> None:
    task = cvs.build(endoscapes.scan(endoscapes_folder))
    prediction = task.constant(task.variants([])[0], SimpleNamespace())  # type: ignore[arg-type]
    assert prediction.names == ("C1", "C2", "C3")
    # two test videos of three stills: C1 from 2/3, C2 never, C3 in the second and third
    assert prediction.labels.sum(axis=0).tolist() == [2, 0, 4]
    assert prediction.details()["absent_classes"] == ["C2"]
    assert point(prediction) == pytest.approx((2 / 6 + 4 / 6) / 2)


def test_no_positive_test_frame(synthetic_folder: Path) -> None:
    dataset = synthetic.scan(synthetic_folder)
    with pytest.raises(UserError, match="no test frame has any of grasper, hook"):
        LabelTask(dataset, dataset.presence_names, lambda record: (False, False))

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from evaluation.bootstrap import per_case, point
from evaluation.datasets import endoscapes, synthetic
from evaluation.features import extract_features
from evaluation.tasks.segmentation import SegmentationTask, cell_counts, measured_iou


def test_cell_counts_by_hand() -> None:
    mask = np.array([[0, 0, 1], [0, 255, 1], [2, 2, 255], [2, 2, 2]], dtype=np.uint8)
    # columns 0 and 1 belong to the first cell (0 * 2 // 3 = 1 * 2 // 3 = 0), column 2 to the second
    counts = cell_counts(mask, (2, 2), 3)
    assert counts[0].tolist() == [[3, 0, 0], [0, 2, 0]]
    assert counts[1].tolist() == [[0, 0, 4], [0, 0, 1]]


def test_cells_of_a_finer_grid_than_the_mask_stay_empty() -> None:
    counts = cell_counts(np.zeros((2, 2), dtype=np.uint8), (4, 4), 1)
    assert counts.sum() == 4


def test_prediction_by_hand() -> None:
    confusions = np.array([[[3, 1], [0, 4]], [[0, 0], [2, 2]]])
    prediction = measured_iou(("a", "b"), confusions, ("background", "tool"))
    assert point(prediction) == pytest.approx((3 / 6 + 6 / 9) / 2)
    assert per_case(prediction) == {"a": pytest.approx((3 / 4 + 4 / 5) / 2), "b": pytest.approx(2 / 4)}
    assert prediction.values(np.array([[0, 3]]))[0] == pytest.approx(1 / 2)
    assert prediction.details()["pixels"] == {"background": 4, "tool": 8}


def test_mean_color_finds_the_tools(synthetic_folder: Path, mean_color: Any) -> None:
    task = SegmentationTask(synthetic.scan(synthetic_folder))
    store = extract_features([mean_color()], task.frames, task.dense_frames, 64, memory_limit=1)
    aim = task.aims([])[0]
    outcome = task.predict(aim, "linear", store, "mean color", 0)
    prediction, constant = outcome.measures[0], task.constant(aim, store).measures[0]
    assert point(prediction) > point(constant) + 0.2
    assert outcome.chosen.chosen_on == "train folds by case"
    for each in (prediction, constant):
        assert sum(each.details()["pixels"].values()) == 8 * 48 * 64


def test_ignored_pixels_count_nowhere(endoscapes_folder: Path) -> None:
    task = SegmentationTask(endoscapes.scan(endoscapes_folder))
    constant = task.constant(task.aims([])[0], SimpleNamespace()).measures[0]  # type: ignore[arg-type]
    details = constant.details()
    assert sum(details["pixels"].values()) == 6 * (48 * 64 - 64 - 3)
    assert sum(bool(value) for value in details["per_class"].values()) == 1  # one class is predicted everywhere

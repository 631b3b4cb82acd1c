import evaluate
import numpy as np
import pytest

from evaluation.metrics import mean_iou as room
from evaluation.metrics.mean_iou import MeanIoU, confusion_matrix, iou_per_class, mean_iou, per_image_mean_iou

REFERENCE = np.array([[0, 0, 1], [1, 1, 255]])
PREDICTION = np.array([[0, 1, 1], [1, 0, 2]])


def test_hand_computed() -> None:
    confusion = confusion_matrix(REFERENCE, PREDICTION, 3)
    assert confusion.tolist() == [[1, 1, 0], [1, 2, 0], [0, 0, 0]]
    # background: 1 of 3; class 1: 2 of 4; class 2 occurs nowhere but under the ignored pixel
    assert iou_per_class(confusion) == pytest.approx([1 / 3, 1 / 2, np.nan], nan_ok=True)
    assert mean_iou(confusion) == pytest.approx(5 / 12)


def test_a_class_that_is_only_predicted_costs_the_class_it_was_taken_from() -> None:
    confusion = confusion_matrix(np.array([0, 0]), np.array([0, 1]), 2)
    assert iou_per_class(confusion) == pytest.approx([0.5, np.nan], nan_ok=True)
    assert mean_iou(confusion) == pytest.approx(0.5)


def test_perfect_is_one_and_class_order_is_irrelevant() -> None:
    rng = np.random.default_rng(0)
    reference, prediction = rng.integers(0, 4, (2, 50))
    swap = np.array([2, 0, 3, 1])
    assert mean_iou(confusion_matrix(reference, reference, 4)) == 1
    assert mean_iou(confusion_matrix(swap[reference], swap[prediction], 4)) == pytest.approx(
        float(mean_iou(confusion_matrix(reference, prediction, 4)))
    )


def test_global_and_per_image_differ() -> None:
    matrices = np.array([[[8, 0], [0, 0]], [[1, 1], [1, 1]]])
    assert mean_iou(matrices.sum(axis=0)) == pytest.approx((9 / 11 + 1 / 3) / 2)
    assert per_image_mean_iou(matrices) == pytest.approx((1 + 1 / 3) / 2)
    assert np.isnan(per_image_mean_iou(np.zeros((1, 2, 2))))


@pytest.mark.parametrize(
    ("reference", "prediction", "message"),
    [
        ([0, 1], [0], r"reference \(2,\) and prediction \(1,\) have different shapes"),
        ([0, 3], [0, 1], "the reference holds ids outside 0 to 2"),
        ([0, 1], [0, -1], "the prediction holds ids outside 0 to 2"),
    ],
)
def test_bad_input(reference: list[int], prediction: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        confusion_matrix(np.array(reference), np.array(prediction), 3)


def test_module_loads_by_path_and_computes_the_same_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    metric = evaluate.load(str(next(iter(room.__path__))))
    arguments = {"predictions": [PREDICTION.tolist()], "references": [REFERENCE.tolist()], "num_classes": 3}
    first = metric.compute(**arguments)
    assert first == metric.compute(**arguments) == MeanIoU().compute(**arguments)
    assert first["mean_iou"] == pytest.approx(5 / 12)
    assert first["absent_classes"] == [2]
    assert first["pixels"] == 5

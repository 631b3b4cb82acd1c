import math

import evaluate
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, jaccard_score

from evaluation.metrics import sar_rarp50_score as room
from evaluation.metrics.sar_rarp50_score import SarRarp50Score, action_scores, geometric_score, mask_scores
from evaluation.metrics.segmental import f1_counts, f1_from_counts


def labels(runs: list[tuple[int, int]]) -> np.ndarray:
    """[(action, frames), ...] -> one id per frame."""
    return np.concatenate([np.full(frames, action) for action, frames in runs])


def box(shape: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int], name: int) -> np.ndarray:
    mask = np.zeros(shape, dtype=np.uint8)
    mask[slice(*rows), slice(*columns)] = name
    return mask


def surface_dice_slowly(true: np.ndarray, predicted: np.ndarray, tolerance: float) -> float:
    """Boundary pixels by looking at the four neighbors, distances between all pairs."""

    def boundary(mask: np.ndarray) -> list[tuple[int, int]]:
        pixels = {(int(y), int(x)) for y, x in zip(*np.nonzero(mask), strict=True)}
        return [(y, x) for y, x in pixels if not {(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)} <= pixels]

    one, other = boundary(true), boundary(predicted)
    near = sum(min(math.dist(p, q) for q in other) <= tolerance for p in one)
    near += sum(min(math.dist(p, q) for q in one) <= tolerance for p in other)
    return near / (len(one) + len(other))


def test_actions_by_hand() -> None:
    truth, guess = labels([(0, 10), (1, 10), (0, 10)]), labels([(0, 8), (1, 14), (2, 8)])
    scores = action_scores(truth, guess)
    # right: frames 0..8 and 10..20
    assert scores.accuracy == pytest.approx(18 / 30)
    # IoU 8/10 and 10/14 are true positives, 2 is none, the second 0 is missed: TP 2, FP 1, FN 1; 0 is no background
    assert scores.f1 == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))


@pytest.mark.parametrize("seed", range(20))
def test_actions_equal_scikit_learn_and_the_segmental_metric(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, guess = (np.repeat(rng.integers(0, 8, 120), rng.integers(1, 12, 120))[:120] for _ in range(2))
    guess = np.where(rng.random(120) < 0.6, truth, guess)
    scores = action_scores(truth, guess)
    assert scores.accuracy == pytest.approx(accuracy_score(truth, guess))
    assert scores.f1 == pytest.approx(f1_from_counts(*f1_counts(truth, guess, 0.10)))
    swap = rng.permutation(8)
    assert action_scores(swap[truth], swap[guess]) == scores
    assert action_scores(truth, truth) == (1, 1)


def test_a_single_frame() -> None:
    assert action_scores(np.array([3]), np.array([3])) == (1, 1)
    assert action_scores(np.array([3]), np.array([4])) == (0, 0)


def test_masks_by_hand() -> None:
    # class 1: rows 0..4 of ten columns against rows 2..6; class 2 only in the truth, class 3 only predicted
    truth = box((30, 40), (0, 4), (0, 10), 1) + box((30, 40), (20, 22), (20, 22), 2)
    guess = box((30, 40), (2, 6), (0, 10), 1) + box((30, 40), (26, 28), (0, 3), 3)
    iou, nsd = mask_scores(truth, guess)
    # 20 pixels shared of 60; everything within 10 px; classes 4 to 9 are in neither
    assert iou == pytest.approx([20 / 60, 0, 0] + [1] * 6)
    assert nsd == pytest.approx([1, 0, 0] + [1] * 6)
    # Boundary of a 4 x 10 block: 40 - 2 * 8 = 24 pixels. At 0 px only shared boundary pixels count: of rows 2 and 3,
    # the truth's boundary has 2 + 10 and the prediction's 10 + 2; they share the ends of both rows: 4, on either side.
    assert mask_scores(truth, guess, tolerance=0)[1][0] == pytest.approx((4 + 4) / 48)


def test_the_tolerance_is_inclusive() -> None:
    truth, near, far = (box((5, 40), (2, 3), (column, column + 1), 4) for column in (3, 13, 14))
    assert mask_scores(truth, near)[1][3] == 1  # 10 px
    assert mask_scores(truth, far)[1][3] == 0  # 11 px
    assert mask_scores(truth, near)[0][3] == 0


@pytest.mark.parametrize("seed", range(4))
def test_masks_equal_scikit_learn_and_the_slow_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = np.kron(rng.integers(0, 4, (4, 5)), np.ones((5, 5), dtype=int))
    guess = np.roll(truth, tuple(rng.integers(-3, 4, 2)), (0, 1))
    for tolerance in (0, 1, 2.5):
        iou, nsd = mask_scores(truth, guess, tolerance)
        for name in range(1, 4):
            true, predicted = truth == name, guess == name
            if true.any():
                assert iou[name - 1] == pytest.approx(jaccard_score(true.ravel(), predicted.ravel()))
                assert nsd[name - 1] == pytest.approx(surface_dice_slowly(true, predicted, tolerance))
    assert all((values == 1).all() for values in mask_scores(truth, truth, 0))


def test_a_missing_mask_is_zero_also_for_classes_that_are_not_there() -> None:
    iou, nsd = mask_scores(box((5, 5), (0, 2), (0, 2), 1), None)
    assert not iou.any()
    assert not nsd.any()


def test_the_score_is_made_of_means_not_a_mean_of_scores() -> None:
    # means 0.5 and 0.4; the mean of sqrt(1 * 0.8) and sqrt(0 * 0) would be 0.447
    assert geometric_score([1.0, 0.0], [0.8, 0.0]) == pytest.approx(math.sqrt(0.5 * 0.4))
    assert math.isnan(geometric_score([], []))


@pytest.mark.parametrize(
    ("truth", "guess", "message"),
    [
        ([], [], "there are no frames"),
        ([1, 2], [1], r"actions \(2,\) and predicted actions \(1,\) must be of one length"),
        ([1, 8], [1, 1], "the reference holds other actions than the ids 0 to 7"),
        ([1, 1], [1, 0.5], "the prediction holds other actions than the ids 0 to 7"),
    ],
)
def test_bad_actions(truth: list[int], guess: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        action_scores(np.array(truth), np.array(guess))


@pytest.mark.parametrize(
    ("truth", "guess", "message"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2)), r"reference \(2, 3\) and mask \(3, 2\) have different sizes"),
        (np.full((2, 2), 10), np.zeros((2, 2)), "the reference is no picture of class ids 0 to 9"),
        (np.zeros((2, 2)), np.zeros((2, 2, 3)), "the mask is no picture of class ids 0 to 9"),
        (np.zeros((0, 2)), None, "the reference is no picture of class ids 0 to 9"),
    ],
)
def test_bad_masks(truth: np.ndarray, guess: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mask_scores(truth, guess)


def test_module_loads_by_path_and_computes_the_same_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    metric = evaluate.load(str(next(iter(room.__path__))))
    mask = box((6, 6), (1, 4), (1, 4), 1)
    arguments = {
        "predictions": [[0, 0, 1, 1], [2, 2]],
        "references": [[0, 1, 1, 1], [2, 3]],
        "videos": ["a", "b"],
        "mask_predictions": [[mask, None], [mask]],
        "mask_references": [[mask, mask], [mask]],
    }
    first = metric.compute(**arguments)
    assert first == metric.compute(**arguments) == SarRarp50Score().compute(**arguments)
    # accuracy 3/4 and 1/2; F1: 1 and 2 * 1 / (1 + 2)
    assert first["accuracy"] == pytest.approx(5 / 8)
    assert first["f1@10"] == pytest.approx(5 / 6)
    assert first["sar_rarp50_score"] == first["action_score"] == pytest.approx(math.sqrt(5 / 8 * 5 / 6))
    # a: one frame perfect, one missing; b: perfect
    assert first["segmentation_score"] == pytest.approx(3 / 4)
    assert first["per_video"]["a"] == {"accuracy": 0.75, "f1@10": 1.0, "mean_iou": 0.5, "mean_nsd": 0.5}


def test_module_without_masks() -> None:
    result = SarRarp50Score().compute(predictions=[[1]], references=[[1]], videos=["a"])
    assert result["action_score"] == 1
    assert math.isnan(result["segmentation_score"])
    assert math.isnan(result["mean_iou"])
    assert result["per_video"]["a"]["mean_nsd"] is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"references": [[1], []], "predictions": [[1], []]}, "video 'b': there are no frames"),
        ({"videos": ["a", "a"]}, "two videos have the same name"),
        ({"references": [], "predictions": [], "videos": []}, "there are no videos"),
        ({"mask_references": [[], []]}, "masks need both mask_predictions and mask_references"),
        ({"mask_references": [[]], "mask_predictions": [[]]}, "masks of 1 videos, but actions of 2"),
        ({"mask_references": [[], []], "mask_predictions": [[], []]}, "video 'a': 0 masks, but 0 predicted"),
    ],
)
def test_module_names_what_is_wrong(changes: dict[str, object], message: str) -> None:
    arguments = {"predictions": [[1], [1]], "references": [[1], [1]], "videos": ["a", "b"]}
    with pytest.raises(ValueError, match=message):
        SarRarp50Score().compute(**{**arguments, **changes})

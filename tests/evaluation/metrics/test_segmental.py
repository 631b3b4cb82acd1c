import functools
import itertools
import math

import evaluate
import numpy as np
import pytest

from evaluation.metrics import segmental as room
from evaluation.metrics.segmental import (
    Segmental,
    edit_score,
    f1_counts,
    f1_from_counts,
    over_segmentation_counts,
    segments,
)


def labels(runs: list[tuple[int, int]]) -> np.ndarray:
    """[(class, frames), ...] -> one id per frame."""
    return np.concatenate([np.full(frames, label) for label, frames in runs])


# frames:        0        10   15   20         30
TRUTH = labels([(0, 10), (1, 10), (2, 10)])
GUESS = labels([(0, 9), (1, 3), (2, 2), (1, 6), (0, 10)])


def slowly(truth: list[int], guess: list[int], threshold: float) -> tuple[float, list[int]]:
    """Edit score by recursion and the counts by sets of frames."""

    def runs(values: list[int]) -> list[tuple[int, set[int]]]:
        groups = itertools.groupby(enumerate(values), key=lambda pair: pair[1])
        return [(label, {index for index, _ in group}) for label, group in groups]

    true, predicted = runs(truth), runs(guess)

    @functools.cache
    def distance(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        substitution = distance(i - 1, j - 1) + (true[i - 1][0] != predicted[j - 1][0])
        return min(substitution, distance(i - 1, j) + 1, distance(i, j - 1) + 1)

    free = list(range(len(true)))
    for label, frames in predicted:
        ious = [len(frames & other) / len(frames | other) if label == name else 0 for name, other in true]
        best = ious.index(max(ious))
        if ious[best] >= threshold and best in free:
            free.remove(best)
    hits = len(true) - len(free)
    edit = 1 - distance(len(true), len(predicted)) / max(len(true), len(predicted))
    return edit, [hits, len(predicted) - hits, len(true) - hits]


def test_by_hand() -> None:
    assert segments(GUESS).labels.tolist() == [0, 1, 2, 1, 0]
    assert segments(GUESS).starts.tolist() == [0, 9, 12, 14, 20]
    assert segments(GUESS).ends.tolist() == [9, 12, 14, 20, 30]
    # 0 1 2 and 0 1 2 1 0: two insertions, of five
    assert edit_score(TRUTH, GUESS) == pytest.approx(1 - 2 / 5)
    # IoU: 0..9 with 0..10: 9/10. 9..12 with 10..20: 2/11. 14..20 with 10..20: 6/10. The others overlap none of theirs.
    # @10: the first piece of 1 takes the segment, the better second one comes too late.
    assert f1_counts(TRUTH, GUESS, 0.10) == (2, 3, 1)
    # @25: the first piece is too small, the second takes it
    assert f1_counts(TRUTH, GUESS, 0.25) == (2, 3, 1)
    assert f1_counts(TRUTH, GUESS, 0.60) == (2, 3, 1)
    assert f1_counts(TRUTH, GUESS, 0.61) == (1, 4, 2)
    assert f1_from_counts(2, 3, 1) == pytest.approx(4 / 8)
    # five segments for three; the true segment of 1 is in two pieces
    assert over_segmentation_counts(TRUTH, GUESS) == (5, 1, 3)


def test_an_iou_of_exactly_the_threshold_counts() -> None:
    for frames, threshold in ((1, 0.10), (25, 0.25), (5, 0.5)):
        whole = 100 if threshold == 0.25 else 10
        truth, guess = labels([(0, whole), (1, 7)]), labels([(0, frames), (2, whole - frames), (1, 7)])
        assert f1_counts(truth, guess, threshold).true_positives == 2


def test_background_is_dropped_on_both_sides_and_its_neighbors_stay_apart() -> None:
    truth, guess = labels([(9, 5), (1, 5), (9, 2), (1, 5), (9, 3)]), labels([(1, 10), (9, 10)])
    assert segments(truth, [9]).labels.tolist() == [1, 1]
    assert edit_score(truth, guess, [9]) == pytest.approx(1 - 1 / 2)
    # frames 0..10 with 5..10: IoU 5/10; with 12..17 none
    assert f1_counts(truth, guess, 0.5, [9]) == (1, 0, 1)
    assert f1_counts(truth, guess, 0.5) == (1, 1, 4)
    assert over_segmentation_counts(truth, guess, [9]) == (1, 0, 2)


def test_only_background() -> None:
    nothing, something = labels([(9, 4)]), labels([(1, 4)])
    assert math.isnan(edit_score(nothing, nothing, [9]))
    assert f1_counts(nothing, nothing, 0.5, [9]) == (0, 0, 0)
    assert math.isnan(f1_from_counts(0, 0, 0))
    assert edit_score(nothing, something, [9]) == 0
    assert f1_counts(nothing, something, 0.5, [9]) == (0, 1, 0)
    assert f1_counts(something, nothing, 0.5, [9]) == (0, 0, 1)
    assert f1_from_counts(0, 1, 0) == 0


@pytest.mark.parametrize("seed", range(30))
def test_equals_the_slow_one_and_class_order_is_irrelevant(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, guess = (np.repeat(rng.integers(0, 4, 80), rng.integers(1, 9, 80))[:80] for _ in range(2))
    guess = np.where(rng.random(80) < 0.7, truth, guess)
    swap = np.array([2, 3, 1, 0])
    for threshold in (0.1, 0.25, 0.5):
        edit, counts = slowly(truth.tolist(), guess.tolist(), threshold)
        assert edit_score(truth, guess) == pytest.approx(edit)
        assert list(f1_counts(truth, guess, threshold)) == counts
        assert f1_counts(swap[truth], swap[guess], threshold) == f1_counts(truth, guess, threshold)
    assert edit_score(swap[truth], swap[guess]) == edit_score(truth, guess)
    # the same timeline at five times the rate
    assert f1_counts(np.repeat(truth, 5), np.repeat(guess, 5), 0.25) == f1_counts(truth, guess, 0.25)
    assert over_segmentation_counts(np.repeat(truth, 5), np.repeat(guess, 5)) == over_segmentation_counts(truth, guess)


def test_perfect_is_one_also_for_a_single_frame() -> None:
    for truth in (TRUTH, np.array([3])):
        count = len(segments(truth).labels)
        assert edit_score(truth, truth) == 1
        assert f1_from_counts(*f1_counts(truth, truth, 1.0)) == 1
        assert over_segmentation_counts(truth, truth) == (count, 0, count)
    assert edit_score(np.array([3]), np.array([4])) == 0


@pytest.mark.parametrize(
    ("truth", "guess", "threshold", "message"),
    [
        ([], [], 0.5, "there are no frames"),
        ([0, 1], [0], 0.5, r"reference \(2,\) and prediction \(1,\) have different shapes"),
        ([[0], [1]], [[0], [1]], 0.5, r"labels \(2, 1\) are no sequence"),
        ([0.5, 1], [0, 1], 0.5, "the labels are float64; class ids are integers"),
        ([0, 1], [0, 1], 0, "the IoU threshold is 0; it lies above 0 and at most at 1"),
        ([0, 1], [0, 1], 10, "the IoU threshold is 10; it lies above 0 and at most at 1"),
    ],
)
def test_bad_input(truth: list[int], guess: list[int], threshold: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        f1_counts(np.array(truth), np.array(guess), threshold)


def test_module_loads_by_path_and_computes_the_same_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    metric = evaluate.load(str(next(iter(room.__path__))))
    arguments = {
        "predictions": [GUESS.tolist(), [0, 0, 1]],
        "references": [TRUTH.tolist(), [0, 1, 1]],
        "videos": ["a", "b"],
    }
    first = metric.compute(**arguments)
    assert first == metric.compute(**arguments) == Segmental().compute(**arguments)
    assert first["edit"] == first["video_mean"]["edit"] == pytest.approx((3 / 5 + 1) / 2)
    # a: TP 2, FP 3, FN 1. b: IoU 1/2 and 1/2, TP 2. F1 4/8 and 1; pooled 8 / (8 + 3 + 1)
    assert first["video_mean"]["f1@50"] == pytest.approx((1 / 2 + 1) / 2)
    assert first["pooled"]["f1@50"] == pytest.approx(8 / 12)
    assert first["video_mean"]["over_segmentation_ratio"] == pytest.approx((5 / 3 + 1) / 2)
    assert first["pooled"]["over_segmentation_ratio"] == pytest.approx(7 / 5)
    assert first["video_mean"]["over_segmentation_error"] == pytest.approx((1 / 3 + 0) / 2)
    assert first["pooled"]["over_segmentation_error"] == pytest.approx(1 / 5)
    assert first["counts"]["a"] == {
        "f1@10": [2, 3, 1],
        "f1@25": [2, 3, 1],
        "f1@50": [2, 3, 1],
        "segments": [5, 3],
        "fragments": 1,
    }


def test_a_video_of_background_takes_no_part_in_the_mean() -> None:
    result = Segmental().compute(
        predictions=[[9, 9], [1, 1]], references=[[9, 9], [1, 2]], videos=["a", "b"], background_classes=[9]
    )
    assert result["per_video"]["a"] == dict.fromkeys(result["video_mean"])
    assert set(result["averaged"].values()) == {1}
    assert result["edit"] == pytest.approx(1 / 2)
    assert "background classes [9]" in result["variant"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"references": [[0], []], "predictions": [[0], []]}, "video 'b': there are no frames"),
        ({"videos": ["a", "a"]}, "two videos have the same name"),
        ({"references": [], "predictions": [], "videos": []}, "there are no videos"),
    ],
)
def test_module_names_the_video(changes: dict[str, object], message: str) -> None:
    arguments = {"predictions": [[0], [0]], "references": [[0], [0]], "videos": ["a", "b"]}
    with pytest.raises(ValueError, match=message):
        Segmental().compute(**{**arguments, **changes})

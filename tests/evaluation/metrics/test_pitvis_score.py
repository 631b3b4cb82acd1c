import math

import evaluate
import numpy as np
import pytest
from sklearn.metrics import f1_score

from evaluation.metrics import pitvis_score as room
from evaluation.metrics.pitvis_score import PitVisScore, instrument_f1, step_scores
from evaluation.metrics.segmental import edit_score

#  cut out:                  x      x  x             x
TRUTH = np.array([1, 1, 2, -1, 2, 11, 13, 3, 3, 3, -1])
GUESS = np.array([1, 2, 2, 5, 2, 2, 13, 3, 11, 3, 4])
INSTRUMENTS = [[16, 8], [16, -2], [0, -2], [-1, -2]]
GUESSED = [[16], [16, 8], [], [3]]


def test_steps_by_hand() -> None:
    scores = step_scores(TRUTH, GUESS)
    # left over: truth 1 1 2 2 3 3 3, prediction 1 2 2 2 3 11 3
    # F1: 1: 2/3. 2: 4/5. 3: 4/5. 11 is only predicted: 0
    assert scores.f1 == pytest.approx((2 / 3 + 4 / 5 + 4 / 5 + 0) / 4)
    # runs 1 2 3 and 1 2 3 11 3: two insertions of five
    assert scores.edit == pytest.approx(1 - 2 / 5)
    assert scores.score == pytest.approx((scores.f1 + 3 / 5) / 2)


def test_cutting_joins_what_lay_around_it() -> None:
    # 2 -1 2 is one run after the cut; a background class of the segmental metrics would leave two
    assert step_scores(np.array([2, -1, 2]), np.array([2, 2, 2])).edit == 1
    assert edit_score(np.array([2, -1, 2]), np.array([2, 2, 2]), [-1]) == 0.5


@pytest.mark.parametrize("seed", range(10))
def test_steps_equal_scikit_learn_and_the_segmental_metric(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, guess = (np.repeat(rng.integers(1, 11, 90), rng.integers(1, 9, 90))[:90] for _ in range(2))
    scores = step_scores(truth, guess)
    assert scores.f1 == pytest.approx(f1_score(truth, guess, average="macro"))
    assert scores.edit == pytest.approx(edit_score(truth, guess))
    swap = np.append(0, rng.permutation([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14])[:10])  # among steps that are scored
    swapped = step_scores(swap[truth], swap[guess])
    assert swapped == pytest.approx(scores)


def test_instruments_by_hand() -> None:
    # 16: true in frames 0, 1, predicted in 0, 1: F1 1, weight 2. 8: true in 0, predicted in 1: 0, weight 1.
    # 0: true in 2, never predicted: 0, weight 1. 3: predicted out of the patient, weight 0.
    assert instrument_f1(INSTRUMENTS, GUESSED) == pytest.approx((2 * 1 + 0 + 0) / 4)
    # Columns as published: truth 0 8 16 1 2 3 ..., prediction 3 8 16 0 1 2 ...: 0 is compared with 3, 8 and 16 with
    # themselves. The result is the same here, and not where the classes slip:
    assert instrument_f1(INSTRUMENTS, GUESSED, "published") == pytest.approx(2 / 4)
    truth, guess = [[1, 5], [5, -2]], [[5], [5]]
    assert instrument_f1(truth, guess) == pytest.approx((1 * 0 + 2 * 1) / 3)
    # truth 1 5 0 ..., prediction 5 0 1 ...: 1 (frame 0) is compared with 5 (frames 0, 1): 2/3; 5 with 0: 0
    assert instrument_f1(truth, guess, "published") == pytest.approx((1 * 2 / 3 + 2 * 0) / 3)


@pytest.mark.parametrize("seed", range(5))
def test_instruments_equal_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, guess = rng.integers(-2, 19, (2, 60, 2)).tolist()
    hot = np.zeros((2, 60, 19), dtype=int)
    for side, frames in enumerate((truth, guess)):
        for index, ids in enumerate(frames):
            hot[side, index, [i for i in ids if i >= 0]] = 1
    assert instrument_f1(truth, guess) == pytest.approx(f1_score(hot[0], hot[1], average="weighted", zero_division=1))
    assert instrument_f1(truth, truth) == instrument_f1(truth, truth, "published") == 1


def test_undefined() -> None:
    assert all(math.isnan(value) for value in step_scores(np.array([-1, 11, 13]), np.array([1, 2, 3])))
    assert math.isnan(instrument_f1([[-1, -2]], [[3]]))


def test_a_single_frame() -> None:
    assert step_scores(np.array([4]), np.array([4])) == (1, 1, 1)
    assert step_scores(np.array([4]), np.array([5])) == (0, 0, 0)


@pytest.mark.parametrize(
    ("truth", "guess", "message"),
    [
        ([], [], "there are no frames"),
        ([1, 2], [1], r"steps \(2,\) and predicted steps \(1,\) must be of one length"),
        ([1, 0.5], [1, 1], "steps are float64 and int64; ids are integers"),
    ],
)
def test_bad_steps(truth: list[int], guess: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        step_scores(np.array(truth), np.array(guess))


@pytest.mark.parametrize(
    ("truth", "guess", "mode", "message"),
    [
        ([], [], "intended", "there are no frames with instruments"),
        ([[1], [2]], [[1]], "intended", "2 frames with instruments, but 1 predicted"),
        ([[1], [2]], [[1], [1, 2, 3]], "intended", "frame 1 has 3 instruments; there are at most two"),
        ([[19]], [[1]], "intended", "frame 0 has instrument 19; ids are -2 to 18"),
        ([[1]], [[1]], "official", "there is no mode 'official'; there are intended and published"),
    ],
)
def test_bad_instruments(truth: list[list[int]], guess: list[list[int]], mode: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        instrument_f1(truth, guess, mode)


def test_module_loads_by_path_and_computes_the_same_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    metric = evaluate.load(str(next(iter(room.__path__))))
    arguments = {
        "predictions": [GUESS.tolist(), [1, 2]],
        "references": [TRUTH.tolist(), [1, 2]],
        "videos": ["a", "b"],
        "instrument_predictions": [GUESSED, [[5], [5]]],
        "instrument_references": [INSTRUMENTS, [[5, -2], [5, -2]]],
    }
    first = metric.compute(**arguments)
    assert first == metric.compute(**arguments) == PitVisScore().compute(**arguments)
    steps = ((34 / 15 / 4 + 3 / 5) / 2, 1)
    assert first["pitvis_score"] == first["steps"] == pytest.approx(sum(steps) / 2)
    assert first["instruments"] == pytest.approx((1 / 2 + 1) / 2)
    assert first["multitask"] == pytest.approx(((steps[0] + 1 / 2) / 2 + 1) / 2)
    assert first["averaged"] == dict.fromkeys(("steps", "steps_f1", "steps_edit", "instruments", "multitask"), 2)


def test_module_without_instruments_and_with_a_video_out_of_the_patient() -> None:
    result = PitVisScore().compute(predictions=[[1, 2], [1]], references=[[1, 2], [-1]], videos=["a", "b"])
    assert result["steps"] == 1
    assert math.isnan(result["instruments"])
    assert math.isnan(result["multitask"])
    assert result["averaged"]["steps"] == 1
    assert result["per_video"]["b"]["steps"] is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"references": [[1], []], "predictions": [[1], []]}, "video 'b': there are no frames"),
        ({"videos": ["a", "a"]}, "two videos have the same name"),
        ({"references": [], "predictions": [], "videos": []}, "there are no videos"),
        ({"instrument_references": [[[1]], [[1]]]}, "need both instrument_predictions and instrument_references"),
        (
            {"instrument_references": [[[1]]], "instrument_predictions": [[[1]]]},
            "instruments of 1 videos, but steps of 2",
        ),
    ],
)
def test_module_names_what_is_wrong(changes: dict[str, object], message: str) -> None:
    arguments = {"predictions": [[1], [1]], "references": [[1], [1]], "videos": ["a", "b"]}
    with pytest.raises(ValueError, match=message):
        PitVisScore().compute(**{**arguments, **changes})

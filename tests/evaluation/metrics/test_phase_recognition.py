import math

import evaluate
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, jaccard_score, precision_score, recall_score

from evaluation.metrics import phase_recognition as room
from evaluation.metrics.phase_recognition import (
    PhaseRecognition,
    accepted_frames,
    macro_f1,
    phase_mean,
    video_mean,
    video_scores,
)

NAN = float("nan")


def near(values: list[float]) -> object:
    return pytest.approx(values, nan_ok=True)


def labels(runs: list[tuple[int, int]]) -> np.ndarray:
    """[(phase, frames), ...] -> one id per frame."""
    return np.concatenate([np.full(frames, phase) for phase, frames in runs])


def timeline(seed: int, num_phases: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """A truth of segments in any order, and a prediction that is shifted at the boundaries and wrong in places."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(rng.integers(0, num_phases, frames), rng.integers(1, 40, frames))[:frames]
    predicted = np.roll(truth, int(rng.integers(-8, 9)))
    wrong = rng.random(frames) < 0.2
    return truth, np.where(wrong, np.clip(predicted + rng.integers(-2, 3, frames), 0, num_phases - 1), predicted)


def matlab_slowly(truth: np.ndarray, predicted: np.ndarray, num_phases: int, t_all: int) -> dict[str, list[float]]:
    """The published code once more, frame by frame, ids from 1, in per cent, indexing as Matlab does it."""
    gt, pred = [int(i) + 1 for i in truth], [int(i) + 1 for i in predicted]
    shift = num_phases - 7  # M2CAI16 has one phase more at the front
    updated: dict[int, int] = {}
    for phase in range(1, num_phases + 1):
        position = 0
        while position < len(gt):
            if gt[position] != phase:
                position += 1
                continue
            end = position
            while end < len(gt) and gt[end] == phase:
                end += 1
            current = [pred[i] - gt[i] for i in range(position, end)]
            t = min(t_all, len(current))
            late = {-1, -2} if phase in (6 + shift, 7 + shift) else {-1}
            early = {1, 2} if phase in (4 + shift, 5 + shift, 6 + shift, 7 + shift) else {1}
            for i in [i for i in range(t) if current[i] in late]:
                current[i] = 0
            last = current[len(current) - t :]
            for i in [i for i in range(t) if last[i] in early]:  # a mask of length t picks from the front
                current[i] = 0
            updated.update(zip(range(position, end), current, strict=True))
            position = end
    result: dict[str, list[float]] = {"precision": [], "recall": [], "jaccard": []}
    for phase in range(1, num_phases + 1):
        in_truth = {i for i, value in enumerate(gt) if value == phase}
        in_prediction = {i for i, value in enumerate(pred) if value == phase}
        if not in_truth:
            for values in result.values():
                values.append(NAN)
            continue
        tp = sum(updated[i] == 0 for i in in_truth | in_prediction)
        if in_prediction:
            result["precision"].append(min(100 * tp / len(in_prediction), 100) / 100)
        else:
            result["precision"].append(1.0 if tp else NAN)
        result["recall"].append(min(100 * tp / len(in_truth), 100) / 100)
        result["jaccard"].append(tp / len(in_truth | in_prediction))
    result["accuracy"] = [sum(value == 0 for value in updated.values()) / len(gt)]
    return result


def test_strict_by_hand() -> None:
    #                  0  0  0  0  1  1  1  1  2  2
    truth = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2])
    guess = np.array([0, 0, 0, 1, 1, 1, 3, 3, 1, 1])
    scores = video_scores(truth, guess, 5, fps=1, tolerance_seconds=0)
    assert scores.accuracy == pytest.approx(5 / 10)
    # phase 0: TP 3, P 3, G 4. Phase 1: TP 2, P 5, G 4. Phase 2: never predicted. 3: not in the truth. 4: in neither.
    assert scores.precision == near([3 / 3, 2 / 5, NAN, NAN, NAN])
    assert scores.recall == near([3 / 4, 2 / 4, 0, NAN, NAN])
    assert scores.jaccard == near([3 / 4, 2 / 7, 0, NAN, NAN])
    assert scores.f1 == near([6 / 7, 4 / 9, 0, NAN, NAN])
    # the phase that is only predicted counts as 0 in scikit-learn's mean, not in ours
    assert macro_f1(truth, guess, 5) == pytest.approx((6 / 7 + 4 / 9 + 0 + 0) / 4)
    assert video_mean(scores.f1[None]) == pytest.approx((6 / 7 + 4 / 9 + 0) / 3)


def test_intended_by_hand() -> None:
    # 2 s at 1 fps. Segments of the truth: 0 x 5, 2 x 5, 1 x 5.
    truth = labels([(0, 5), (2, 5), (1, 5)])
    guess = np.array([2, 0, 2, 2, 2, 0, 0, 0, 1, 1, 2, 1, 1, 1, 2])
    #   accepted:     -  =  -  e  e  l  l  -  e  e  l  =  =  =  -      (= right, e early, l late)
    expected = [0, 1, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 0]
    assert accepted_frames(truth, guess, 3, 1, 2.0).astype(int).tolist() == expected
    scores = video_scores(truth, guess, 3, 1, 2.0)
    assert scores.accuracy == pytest.approx(11 / 15)
    # P0 = frames 1, 5, 6, 7: 3 accepted; G0 = 0..4: 3 accepted; G0 or P0 = 0..7: 5 accepted
    # P1 = frames 8, 9, 11, 12, 13: all accepted; G1 = 10..14: 4 accepted; union 8..14: 6 of 7
    # P2 = frames 0, 2, 3, 4, 10, 14: 3 accepted; G2 = 5..9: 4 accepted; union 0, 2..10, 14: 7 of 11
    assert scores.precision == near([3 / 4, 5 / 5, 3 / 6])
    assert scores.recall == near([3 / 5, 4 / 5, 4 / 5])
    assert scores.jaccard == near([5 / 8, 6 / 7, 7 / 11])
    assert scores.f1 == near([2 / 3, 8 / 9, 8 / 13])  # 2PR / (P + R), e.g. 2 * 0.75 * 0.6 / 1.35


def test_matlab_by_hand() -> None:
    # 2 s at 1 fps, phases 0 and 1 of Cholec80 (general rule), six frames each.
    truth = labels([(0, 6), (1, 6)])
    guess = np.array([3, 0, 0, 0, 1, 1, 0, 0, 1, 2, 2, 1])
    # Segment 0, difference 3 0 0 0 1 1: the last two are +1, so the *first* two become right (3 is forgiven) and the
    # two early transitions stay wrong. Segment 1, difference -1 -1 0 1 1 0: two late ones become right; of the last
    # two, the first is +1: that picks frame 6, which is right already; frames 9 and 10 stay wrong.
    expected = [1, 1, 1, 1, 0, 0, 1, 1, 1, 0, 0, 1]
    assert accepted_frames(truth, guess, 7, 1, 2.0, "matlab").astype(int).tolist() == expected
    intended = [0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1]
    assert accepted_frames(truth, guess, 7, 1, 2.0, "intended").astype(int).tolist() == intended
    scores = video_scores(truth, guess, 7, 1, 2.0, "matlab")
    # G0 or P0 = 0..7, 6 right, P0 = 5 frames, G0 = 6: precision 6/5 is clipped.
    # G1 or P1 = 4..11, 4 right, P1 = 4, G1 = 6.
    assert scores.precision == near([1.0, 4 / 4] + [NAN] * 5)
    assert scores.recall == near([6 / 6, 4 / 6] + [NAN] * 5)
    assert scores.jaccard == near([6 / 8, 4 / 8] + [NAN] * 5)
    assert scores.accuracy == pytest.approx(8 / 12)


def test_matlab_infinite_precision_is_clipped() -> None:
    # phase 1 is never predicted, but its first frame, predicted as 0, is a late transition: 1 / 0 = Inf, clipped
    truth, guess = labels([(0, 4), (1, 4)]), labels([(0, 5), (4, 3)])
    assert video_scores(truth, guess, 7, 1, 1.0, "matlab").precision[1] == 1
    assert math.isnan(video_scores(truth, guess, 7, 1, 0.0, "matlab").precision[1])
    assert math.isnan(video_scores(truth, guess, 7, 1, 1.0, "intended").precision[1])


@pytest.mark.parametrize("num_phases", [7, 8])
@pytest.mark.parametrize("seed", range(25))
def test_matlab_equals_the_slow_one(num_phases: int, seed: int) -> None:
    truth, guess = timeline(seed, num_phases, 300)
    for fps, seconds in ((1, 10), (1, 3), (5, 10), (1, 0)):
        scores = video_scores(truth, guess, num_phases, fps, seconds, "matlab")
        slow = matlab_slowly(truth, guess, num_phases, fps * seconds)
        assert scores.accuracy == pytest.approx(slow["accuracy"][0])
        for name in ("precision", "recall", "jaccard"):
            assert getattr(scores, name) == near(slow[name])


def test_matlab_and_intended_differ_on_longer_segments_only() -> None:
    # one early transition, segment longer than the tolerance: only intended forgives it
    truth, long = labels([(0, 20), (1, 20)]), labels([(0, 15), (1, 25)])
    assert accepted_frames(truth, long, 7, 1, 10, "intended").all()
    assert accepted_frames(truth, long, 7, 1, 10, "matlab").sum() == 35
    # segments no longer than the tolerance: t is the length, and the mask falls where it belongs
    assert accepted_frames(truth, long, 7, 2, 10, "matlab").all()


@pytest.mark.parametrize("seed", range(5))
def test_strict_equals_scikit_learn(seed: int) -> None:
    truth, guess = timeline(seed, 6, 200)
    scores = video_scores(truth, guess, 6, 1, 0)
    present = np.unique(truth)
    options = {"labels": present, "average": None, "zero_division": np.nan}
    assert scores.accuracy == pytest.approx(accuracy_score(truth, guess))
    assert scores.precision[present] == near(precision_score(truth, guess, **options))
    assert scores.recall[present] == near(recall_score(truth, guess, **options))
    assert scores.jaccard[present] == near(jaccard_score(truth, guess, labels=present, average=None))
    assert scores.f1[present] == near(f1_score(truth, guess, **options))
    assert macro_f1(truth, guess, 6) == pytest.approx(f1_score(truth, guess, average="macro"))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("tolerance", [0, 5])
def test_properties(seed: int, tolerance: float) -> None:
    truth, guess = timeline(seed, 7, 200)
    perfect = video_scores(truth, truth, 7, 1, tolerance)
    assert perfect.accuracy == 1
    assert all(np.nanmin(values) == np.nanmax(values) == 1 for values in perfect[1:])
    scores = video_scores(truth, guess, 7, 1, tolerance)
    assert all(np.nanmin(values) >= 0 and np.nanmax(values) <= 1 for values in scores[1:])
    swap = np.array([3, 5, 0, 6, 2, 1, 4])
    swapped = video_scores(swap[truth], swap[guess], 7, 1, tolerance)
    assert swapped.accuracy == scores.accuracy
    for before, after in zip(scores[1:], swapped[1:], strict=True):
        assert after[swap] == near(before)
    if tolerance:
        strict = video_scores(truth, guess, 7, 1, 0)
        assert scores.accuracy >= strict.accuracy
        assert (np.nan_to_num(scores.recall) >= np.nan_to_num(strict.recall)).all()


@pytest.mark.parametrize("mode", ["intended", "matlab"])
def test_the_same_timeline_at_any_fps(mode: str) -> None:
    truth, guess = timeline(3, 7, 400)
    slow = video_scores(truth, guess, 7, 1, 10, mode)
    for fps in (5, 25):
        fast = video_scores(np.repeat(truth, fps), np.repeat(guess, fps), 7, fps, 10, mode)
        for one, other in zip(slow, fast, strict=True):
            assert other == near(one)
    # at the wrong fps ten seconds become minutes, which only looks like a better model
    wrong = video_scores(truth, guess, 7, 25, 10, mode)
    assert wrong.accuracy > slow.accuracy + 0.02


def test_subsampling_changes_little() -> None:
    truth = labels([(0, 2500), (1, 5000), (2, 2500)])
    guess = labels([(0, 2700), (1, 4900), (2, 2400)])  # 8 s late, 4 s late
    for step, fps in ((1, 25), (5, 5), (25, 1)):
        strict = video_scores(truth[::step], guess[::step], 3, fps, 0)
        assert strict.accuracy == pytest.approx(1 - 300 / 10000)
        assert video_scores(truth[::step], guess[::step], 3, fps, 10).accuracy == 1
        # within 5 s only the first 5 of the 8 s are forgiven: 3 of 400 s stay wrong
        assert video_scores(truth[::step], guess[::step], 3, fps, 5).accuracy == pytest.approx(1 - 3 / 400)


def test_tolerance_at_a_broken_fps() -> None:
    truth, guess = labels([(0, 400), (1, 400)]), labels([(0, 800)])
    # 10 s at 29.97 fps: frame 299 is 9.98 s after the transition, frame 300 is 10.01 s
    assert accepted_frames(truth, guess, 2, 29.97, 10).sum() == 700
    # 0.1 * 30 is 3.0000000000000004 or 3: three frames either way
    assert accepted_frames(truth, guess, 2, 30, 0.1).sum() == 403


@pytest.mark.parametrize("mode", ["intended", "matlab"])
def test_a_single_frame(mode: str) -> None:
    right = video_scores(np.array([2]), np.array([2]), 7, 1, 10, mode)
    assert right.accuracy == 1
    assert right.precision == near([NAN, NAN, 1, NAN, NAN, NAN, NAN])
    wrong = video_scores(np.array([2]), np.array([6]), 7, 1, 10, mode)
    assert wrong.accuracy == 0
    assert wrong.recall == near([NAN, NAN, 0, NAN, NAN, NAN, NAN])
    assert math.isnan(wrong.precision[2])


def test_orders_of_averaging() -> None:
    values = np.array([[1.0, NAN, NAN], [0.5, 0.0, NAN], [0.0, NAN, NAN]])
    assert phase_mean(values) == pytest.approx((0.5 + 0.0) / 2)
    assert video_mean(values) == pytest.approx((1 + 0.25 + 0) / 3)
    assert math.isnan(phase_mean(values, skip_absent=False))  # as Main.m: mean, not nanmean, over phases
    assert math.isnan(phase_mean(np.full((2, 2), NAN)))


@pytest.mark.parametrize(
    ("truth", "guess", "options", "message"),
    [
        ([], [], {}, "there are no frames"),
        ([0, 1], [0], {}, r"reference \(2,\) and prediction \(1,\) must be sequences of one length"),
        ([0, 7], [0, 1], {}, "the reference holds ids outside 0 to 6"),
        ([0, 1], [0, -1], {}, "the prediction holds ids outside 0 to 6"),
        ([0.5, 1], [0, 1], {}, "the reference holds float64; phase ids are integers"),
        ([0, 1], [0, 1], {"fps": 0}, "fps is 0; it must be a positive number"),
        ([0, 1], [0, 1], {"tolerance_seconds": -1}, "the tolerance is -1 s"),
        ([0, 1], [0, 1], {"mode": "relaxed"}, "there is no mode 'relaxed'; there are intended and matlab"),
        ([0, 1], [0, 1], {"mode": "matlab", "num_phases": 5}, "knows 7 phases .* and 8 .*, not 5; use mode intended"),
        ([0, 1], [0, 1], {"mode": "matlab", "fps": 29.97}, "10.0 s are 299.7 frames"),
    ],
)
def test_bad_input(truth: list[int], guess: list[int], options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        video_scores(np.array(truth), np.array(guess), **{"num_phases": 7, "fps": 1, **options})


def test_module_loads_by_path_and_computes_the_same_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    metric = evaluate.load(str(next(iter(room.__path__))))
    arguments = {
        "predictions": [[0, 0, 1, 1], [0, 0, 0]],
        "references": [[0, 1, 1, 1], [0, 0, 2]],
        "videos": ["a", "b"],
        "num_phases": 3,
        "fps": [1, 1],
        "tolerance_seconds": 1,
    }
    first = metric.compute(**arguments)
    assert first == metric.compute(**arguments) == PhaseRecognition().compute(**arguments)
    strict, relaxed = first["strict"], first["relaxed"]
    assert strict["accuracy"] == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert strict["accuracy_std_over_videos"] == pytest.approx((3 / 4 - 2 / 3) / 2**0.5)
    # Jaccard of phase 0: (1/2 + 2/3) / 2 = 7/12, of phase 1: 2/3, of phase 2: 0
    assert strict["jaccard"] == pytest.approx((7 / 12 + 2 / 3 + 0) / 3)
    assert strict["video_mean"]["jaccard"] == pytest.approx(((1 / 2 + 2 / 3) / 2 + (2 / 3 + 0) / 2) / 2)
    assert strict["averaged"]["jaccard"] == {"values": 4, "phases": 3, "videos": 2}
    assert strict["averaged"]["precision"] == {"values": 3, "phases": 2, "videos": 2}
    assert strict["per_video"]["b"]["precision"] == [pytest.approx(2 / 3), None, None]
    assert relaxed["accuracy"] == 1  # both errors lie within a second of a transition
    assert "relaxed by 1 s, mode intended" in first["variant"]
    assert first["macro_f1"] == pytest.approx(((2 / 3 + 4 / 5) / 2 + (4 / 5 + 0) / 2) / 2)


def test_module_in_mode_matlab_keeps_the_published_mean_over_phases() -> None:
    result = PhaseRecognition().compute(
        predictions=[[0, 0, 1]], references=[[0, 1, 1]], videos=["a"], num_phases=7, fps=1, mode="matlab"
    )
    assert math.isnan(result["relaxed"]["jaccard"])  # five phases occur in no video: mean(nanmean) of Main.m is NaN
    assert math.isnan(result["relaxed"]["recall"])
    assert result["relaxed"]["precision"] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"references": [[0], []], "predictions": [[0], []]}, "video 'b': there are no frames"),
        ({"references": [[0], [0, 1]]}, "video 'b': reference .2,. and prediction .1,. must be"),
        ({"videos": ["a", "a"]}, "two videos have the same name"),
        ({"fps": [1]}, "1 fps for 2 videos"),
        ({"references": [], "predictions": [], "videos": []}, "there are no videos"),
    ],
)
def test_module_names_the_video(changes: dict[str, object], message: str) -> None:
    arguments = {"predictions": [[0], [0]], "references": [[0], [0]], "videos": ["a", "b"], "num_phases": 2, "fps": 1}
    with pytest.raises(ValueError, match=message):
        PhaseRecognition().compute(**{**arguments, **changes})


def test_inputs_stay_untouched() -> None:
    truth, guess = timeline(0, 7, 50)
    before = truth.copy(), guess.copy()
    video_scores(truth, guess, 7, 1, 10, "matlab")
    video_scores(truth, guess, 7, 1, 10, "intended")
    assert (truth == before[0]).all()
    assert (guess == before[1]).all()

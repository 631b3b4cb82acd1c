from collections.abc import Callable
from typing import Any

import evaluate
import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from evaluation.metrics import triplet_average_precision as room
from evaluation.metrics.triplet_average_precision import (
    CHOLECT50_NULL,
    CHOLECT50_TRIPLETS,
    TripletAveragePrecision,
    average_precision,
    average_precision_by_case,
    component_classes,
    component_values,
    mean_over_cases,
    mean_over_classes,
    top_k_accuracy,
)
from modeling_zen.cholect50 import CHOLECT50

TRIPLETS = [[0, 0, 0], [0, 1, 0], [1, 0, 1]]
LABELS = np.array([[1, 0, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 0]])
SCORES = np.array([[0.9, 0.2, 0.1], [0.8, 0.1, 0.3], [0.1, 0.6, 0.2], [0.3, 0.5, 0.4], [0.2, 0.7, 0.1]])
CASES = ["A", "A", "A", "B", "B"]
NAN = float("nan")


def cholect50_like(seed: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Labels (90, 100) of three cases with many absent classes, scores with ties, and cases that are interleaved."""
    rng = np.random.default_rng(seed)
    frequency = rng.permutation(0.5 / np.arange(1, 101))
    labels = (rng.random((90, 100)) < frequency).astype(int)
    return labels, np.round(0.3 * labels + 0.7 * rng.random((90, 100)), 1), list("ABC" * 30)


def reference(labels: np.ndarray, scores: np.ndarray, cases: list[str], key: Callable[[Any], Any]) -> float:
    """Video-wise mean average precision, written anew: loops, and scikit-learn on classes with positives."""
    members: dict[Any, list[int]] = {}
    for index, triplet in enumerate(CHOLECT50["triplets"]):
        members.setdefault(key(triplet), []).append(index)
    means = []
    for columns in members.values():
        values = []
        for case in sorted(set(cases)):
            rows = [row for row, owner in enumerate(cases) if owner == case]
            truth = [max(labels[row, column] for column in columns) for row in rows]
            if any(truth):
                score = [max(scores[row, column] for column in columns) for row in rows]
                values.append(average_precision_score(truth, score))
        if values:
            means.append(sum(values) / len(values))
    return sum(means) / len(means)


def test_the_map_is_that_of_the_model_and_of_the_official_file() -> None:
    assert [list(triplet) for triplet in CHOLECT50_TRIPLETS] == CHOLECT50["triplets"]
    # rows of maps.txt: IVT, I, V, T
    assert [CHOLECT50_TRIPLETS[row] for row in (0, 17, 60, 82, 99)] == [
        (0, 2, 1),
        (0, 1, 0),
        (2, 2, 0),
        (5, 6, 6),
        (5, 9, 14),
    ]
    assert [row for row, triplet in enumerate(CHOLECT50_TRIPLETS) if triplet[1:] == (9, 14)] == list(CHOLECT50_NULL)
    counts = {name: len(component_classes(name, CHOLECT50_TRIPLETS)[0]) for name in ("I", "V", "T", "IV", "IT", "IVT")}
    assert counts == {"I": 6, "V": 10, "T": 15, "IV": 26, "IT": 59, "IVT": 100}


def test_components_are_the_maximum_over_their_triplets() -> None:
    classes, rows = component_classes("IV", TRIPLETS)
    assert (classes.tolist(), rows.tolist()) == ([[0, 0], [0, 1], [1, 0]], [0, 1, 2])
    assert component_values(SCORES, "I", TRIPLETS)[:3].tolist() == [[0.9, 0.1], [0.8, 0.3], [0.6, 0.2]]
    assert component_values(SCORES, "V", TRIPLETS)[0].tolist() == [0.9, 0.2]  # verb 0: triplets 0 and 2
    assert component_values(LABELS, "T", TRIPLETS).tolist() == [[1, 0], [0, 1], [1, 0], [1, 0], [0, 0]]
    assert component_values(SCORES, "IVT", TRIPLETS).tolist() == SCORES.tolist()


def test_hand_computed() -> None:
    result = TripletAveragePrecision().compute(
        predictions=SCORES, references=LABELS, cases=CASES, triplets=TRIPLETS, top_k=[1, 2, 3]
    )
    ivt = result["components"]["IVT"]
    # case A, triplet 0: hits at rank 1 and 3: 1/2 * 1 + 1/2 * 2/3; triplet 2 first; case B, triplet 1 second of two
    assert ivt["per_case"] == {"A": [pytest.approx(5 / 6), None, 1.0], "B": [None, 0.5, None]}
    assert ivt["per_class_video_wise"] == pytest.approx([5 / 6, 1 / 2, 1])
    assert result["triplet_average_precision"] == result["video_wise"]["IVT"] == pytest.approx((5 / 6 + 1 / 2 + 1) / 3)
    # pooled: triplet 0 hits at rank 1 and 5, triplet 1 at rank 3, triplet 2 at rank 2
    assert ivt["per_class_global"] == pytest.approx([1 / 2 + 1 / 2 * 2 / 5, 1 / 3, 1 / 2])
    assert result["global"]["IVT"] == pytest.approx((7 / 10 + 1 / 3 + 1 / 2) / 3)
    # instrument 0 = triplets 0 and 1: case A 5/6, case B 1/2; instrument 1 only in A: 1
    assert result["video_wise"]["I"] == pytest.approx(((5 / 6 + 1 / 2) / 2 + 1) / 2)
    # ranks of the true triplets in their frames: 1, 2, 3, 1
    assert result["top_k"] == {"1": 2 / 4, "2": 3 / 4, "3": 1.0}
    assert (result["frames"], result["cases"], result["classes"]) == (5, 2, "3 of 3 triplets")


def test_absent_classes_are_undefined_and_leave_no_trace_in_the_means() -> None:
    labels, scores = np.array([[1, 0, 0], [0, 0, 0]]), np.array([[0.9, 0.9, 0.9], [0.1, 0.1, 0.1]])
    _, by_case = average_precision_by_case(labels, scores, ["A", "B"])
    assert by_case[0] == pytest.approx([1, NAN, NAN], nan_ok=True)
    assert np.isnan(by_case[1]).all()
    assert mean_over_cases(by_case) == pytest.approx([1, NAN, NAN], nan_ok=True)
    assert mean_over_classes(mean_over_cases(by_case)) == 1
    assert np.isnan(mean_over_classes(np.full(3, NAN)))
    assert np.isnan(top_k_accuracy(np.zeros((2, 3)), scores, 1))
    result = TripletAveragePrecision().compute(
        predictions=scores, references=labels, cases=["A", "B"], triplets=TRIPLETS
    )
    assert result["components"]["IVT"]["absent_classes"] == [1, 2]
    assert result["components"]["IVT"]["per_class_global"] == [1.0, None, None]
    assert result["components"]["IVT"]["per_case"]["B"] == [None, None, None]


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_equals_scikit_learn_where_it_is_defined(seed: int) -> None:
    labels, scores, _ = cholect50_like(seed)
    ours, present = average_precision(labels, scores), labels.any(axis=0)
    assert 0 < present.sum() < 100
    assert np.isnan(ours[~present]).all()
    assert ours[present] == pytest.approx(
        average_precision_score(labels[:, present], scores[:, present], average=None), abs=1e-12
    )


def test_equals_an_independent_implementation() -> None:
    labels, scores, cases = cholect50_like(0)
    result = TripletAveragePrecision().compute(predictions=scores, references=labels, cases=cases)
    keys: dict[str, Callable[[list[int]], Any]] = {
        "I": lambda t: t[0],
        "V": lambda t: t[1],
        "T": lambda t: t[2],
        "IV": lambda t: 10 * t[0] + t[1],
        "IT": lambda t: 15 * t[0] + t[2],
        "IVT": tuple,
    }
    for name, key in keys.items():
        assert result["video_wise"][name] == pytest.approx(reference(labels, scores, cases, key), abs=1e-12)
        assert result["global"][name] == pytest.approx(reference(labels, scores, ["all"] * 90, key), abs=1e-12)


def test_figures_of_the_card() -> None:
    """The data on which ivtmetrics was run, and what its release 0.1.5 makes of absent classes (README.md)."""
    rng = np.random.default_rng(0)
    frequency = (0.3 * np.arange(1.0, 101.0) ** -1.2)[rng.permutation(100)]
    labels, scores, cases = [], [], []
    for case, frames in enumerate((120, 90, 150, 60, 110)):
        truth = rng.random((frames, 100)) < frequency * rng.lognormal(0, 1, 100)
        labels.append(truth.astype(int))
        scores.append(np.round(np.clip(0.3 * truth + 0.7 * rng.random((frames, 100)), 0, 1), 2))
        cases += [f"VID{case}"] * frames
    pooled = {"predictions": np.concatenate(scores), "references": np.concatenate(labels), "cases": cases}
    result = TripletAveragePrecision().compute(**pooled)
    # printed by ivtmetrics 0.1.2
    expected = {"I": 0.660994, "V": 0.585899, "T": 0.548578, "IV": 0.552535, "IT": 0.568747, "IVT": 0.536265}
    assert result["video_wise"] == pytest.approx(expected, abs=5e-7)
    expected = {"I": 0.649541, "V": 0.556523, "T": 0.532198, "IV": 0.521256, "IT": 0.552389, "IVT": 0.508592}
    assert result["global"] == pytest.approx(expected, abs=5e-7)
    cut = TripletAveragePrecision().compute(**pooled, ignored_classes=CHOLECT50_NULL)
    assert (cut["video_wise"]["IVT"], cut["global"]["IVT"]) == pytest.approx((0.537492, 0.511772), abs=5e-7)
    assert result["top_k"]["5"] == pytest.approx(0.4935, abs=5e-5)
    # printed by ivtmetrics 0.1.5 with scikit-learn 1.6.1 and later: absent classes count as 0
    for name, value in {"V": 0.467395, "T": 0.43255, "IV": 0.330619, "IT": 0.289638, "IVT": 0.20153}.items():
        by_case = np.array(list(result["components"][name]["per_case"].values()), dtype=float)
        assert np.nan_to_num(by_case).mean() == pytest.approx(value, abs=5e-7)
    absent = result["components"]["IVT"]["absent_classes"]
    assert len(absent) == 19
    assert result["global"]["IVT"] * (100 - len(absent)) / 100 == pytest.approx(0.41196, abs=5e-7)


def test_one_case_is_both_video_wise_and_global() -> None:
    result = TripletAveragePrecision().compute(
        predictions=SCORES, references=LABELS, cases=["A"] * 5, triplets=TRIPLETS
    )
    assert result["video_wise"] == result["global"]


def test_perfect_scores_give_one_and_constant_scores_the_share_of_positives() -> None:
    labels, _, cases = cholect50_like(0)
    perfect = TripletAveragePrecision().compute(predictions=labels, references=labels, cases=cases)
    assert set(perfect["video_wise"].values()) == set(perfect["global"].values()) == {1.0}
    present = labels.any(axis=0)
    assert average_precision(labels, np.zeros((90, 100)))[present] == pytest.approx(labels.mean(axis=0)[present])


def test_order_of_classes_frames_and_cases_is_irrelevant() -> None:
    labels, scores, cases = cholect50_like(1)
    rng = np.random.default_rng(0)
    classes, frames = rng.permutation(100), rng.permutation(90)
    metric = TripletAveragePrecision()
    first = metric.compute(predictions=scores, references=labels, cases=cases)
    second = metric.compute(
        predictions=scores[frames][:, classes],
        references=labels[frames][:, classes],
        cases=[cases[frame] for frame in frames],
        triplets=[CHOLECT50_TRIPLETS[index] for index in classes],
    )
    for key in ("video_wise", "global", "top_k"):
        assert second[key] == pytest.approx(first[key], abs=1e-12)


def test_94_classes_leave_the_null_triplets_out_of_ivt_only() -> None:
    labels, scores, cases = cholect50_like(0)
    labels[:5, 99], scores[:, 99] = 1, 0.0  # a null triplet that is scored badly
    metric = TripletAveragePrecision()
    full = metric.compute(predictions=scores, references=labels, cases=cases)
    cut = metric.compute(predictions=scores, references=labels, cases=cases, ignored_classes=CHOLECT50_NULL)
    _, by_case = average_precision_by_case(labels[:, :94], scores[:, :94], cases)
    assert cut["video_wise"]["IVT"] == pytest.approx(mean_over_classes(mean_over_cases(by_case)))
    assert cut["global"]["IVT"] == pytest.approx(mean_over_classes(average_precision(labels[:, :94], scores[:, :94])))
    assert cut["video_wise"]["IVT"] > full["video_wise"]["IVT"]
    for name in ("I", "V", "T", "IV", "IT"):
        assert cut["video_wise"][name] == full["video_wise"][name]
    assert (full["classes"], cut["classes"]) == ("100 of 100 triplets", "94 of 100 triplets")


def test_equal_scores_share_the_places_of_top_k() -> None:
    # one score above, three equal: two places are left for three at K = 3, none at K = 1
    labels, scores = np.array([[0, 1, 0, 0, 0]]), np.array([[0.9, 0.5, 0.5, 0.5, 0.1]])
    assert [top_k_accuracy(labels, scores, k) for k in (1, 2, 3, 4, 9)] == pytest.approx([0, 1 / 3, 2 / 3, 1, 1])


def test_a_bootstrap_by_case_can_be_made_from_the_values_by_case() -> None:
    _, by_case = average_precision_by_case(LABELS, SCORES, CASES)
    only_first = mean_over_classes(mean_over_cases(by_case[[0, 0]]))
    assert only_first == pytest.approx((5 / 6 + 1) / 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predictions": SCORES[:, :2]}, r"labels \(5, 3\) and scores \(5, 2\) must both be"),
        ({"references": LABELS * 2}, "labels must be 0 or 1"),
        ({"references": LABELS * 0.5}, "labels must be 0 or 1"),
        ({"predictions": np.where(SCORES == 0.9, np.inf, SCORES)}, "scores must be finite"),
        ({"triplets": CHOLECT50_TRIPLETS}, r"values have shape \(5, 3\), but there are 100 triplet classes"),
        ({"triplets": [[0, 0], [0, 1], [1, 0]]}, r"triplets have shape \(3, 2\)"),
        ({"triplets": [[0, 0, 0], [0, 1, 0], [0, 0, 0]]}, "two triplet classes have the same"),
        ({"ignored_classes": [94]}, "ignored class 94 is not one of 0 to 2"),
        ({"top_k": [0]}, "top-0 does not exist"),
    ],
)
def test_bad_input(change: dict[str, Any], message: str) -> None:
    arguments = {"predictions": SCORES, "references": LABELS, "cases": CASES, "triplets": TRIPLETS}
    with pytest.raises(ValueError, match=message):
        TripletAveragePrecision().compute(**(arguments | change))


def test_bad_input_of_the_functions() -> None:
    with pytest.raises(ValueError, match="there is no component 'VT'; there are I, V, T, IV, IT, IVT"):
        component_classes("VT", TRIPLETS)
    with pytest.raises(ValueError, match="4 cases for 5 frames"):
        average_precision_by_case(LABELS, SCORES, CASES[:4])
    with pytest.raises(ValueError, match="not empty"):
        average_precision(np.zeros((0, 3)), np.zeros((0, 3)))


def test_module_loads_by_path_and_computes_the_same_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    metric = evaluate.load(str(next(iter(room.__path__))))
    arguments = {
        "predictions": SCORES.tolist(),
        "references": LABELS.tolist(),
        "cases": CASES,
        "triplets": TRIPLETS,
    }
    first = metric.compute(**arguments)
    assert first == metric.compute(**arguments) == TripletAveragePrecision().compute(**arguments)
    assert first["triplet_average_precision"] == pytest.approx(7 / 9)


def test_inputs_stay_untouched() -> None:
    labels, scores = LABELS.copy(), SCORES.copy()
    average_precision_by_case(labels, scores, CASES)
    top_k_accuracy(labels, scores, 2)
    mean_over_classes(values := np.array([0.5, 0.7]), [1])
    assert [labels.tolist(), scores.tolist(), values.tolist()] == [LABELS.tolist(), SCORES.tolist(), [0.5, 0.7]]

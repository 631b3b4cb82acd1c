"""Pairs and ranks against hand computations, on a scorer whose values are known for every draw."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evaluation.backbones import Identity
from evaluation.datasets.samples import Target
from evaluation.predictions import Predictions, write_predictions
from evaluation.records import Paired, ResultRecord, Split
from evaluation.reporting.pairs import pair_up
from evaluation.reporting.ranking import rank_models, ranks_of
from evaluation.reporting.resampling import Resampler, draw
from evaluation.reporting.results import Found
from evaluation.reporting.scores import TaskScores, group_scores
from evaluation.scoring import Measured
from training.bootstrap import RESAMPLES

CASES = ("a", "b", "c")
NewRecord = Callable[..., ResultRecord]


def mean_by_case(predictions: Predictions) -> list[Measured]:
    """The mean of the scores, one sample per case, under the name of the measure in `task_of`."""
    scores = predictions.scores[:, 0].astype(np.float64)

    def compute(weights: np.ndarray) -> np.ndarray:
        return weights @ scores / weights.sum(axis=1)

    return [Measured("score", "mean", predictions.cases, compute, primary=True)]


@pytest.fixture
def task_of(tmp_path: Path, new_record: NewRecord) -> Callable[..., TaskScores]:
    """A task of three cases: `models` maps roles or names to the score of each case, in the order of `CASES`."""

    def build(models: dict[str, tuple[float, ...]], task: str = "task", **more: object) -> TaskScores:
        found = []
        for number, (name, scores) in enumerate(models.items()):
            role = "student" if number == 0 else "peer"
            path = tmp_path / f"{task}-{name}.safetensors"
            values = np.array(scores, dtype=np.float32)[:, None]
            target = Target("score", "value", ("score",))
            arrays = np.zeros(3), np.zeros((3, 1), dtype=np.float32), values
            write_predictions(path, Predictions(task, "skill", target, CASES, CASES, *arrays))
            record = new_record(
                role,
                model=name,
                backbone=Identity(name, None, f"{number:x}" * 64, "f" * 64),
                task=task,
                split=Split(("t",), CASES, "made up"),
                per_case=dict.fromkeys(CASES, 0.0),
                metric="score",
                variant="mean",
                value=float(np.mean(scores)),
                paired=None if number == 0 else Paired("student", "0" * 64, 0.25, (0.1, 0.4)),
                predictions=path.name,
                **more,
            )
            found.append(Found(record, tmp_path / "results.jsonl"))
        return group_scores(found)[0]

    return build


def scores_of(task: TaskScores) -> list:
    return task.pick(task.conditions[0], task.measures[0])


def test_draws_are_joint_for_the_same_cases_whatever_their_order() -> None:
    first = draw("d", ("a", "b", "c"))
    assert first.shape == (1 + RESAMPLES, 3)
    assert first[0].tolist() == [1, 1, 1]
    assert (first.sum(axis=1) == 3).all()
    assert np.array_equal(first[:, [2, 0, 1]], draw("d", ("c", "a", "b")))
    assert not np.array_equal(first, draw("other", ("a", "b", "c")))


def test_a_constant_gap_has_an_interval_without_width(task_of: Callable[..., TaskScores]) -> None:
    task = task_of({"one": (0.5, 0.75, 0.25), "two": (0.25, 0.5, 0.0)})
    (pair,) = pair_up(scores_of(task), Resampler(mean_by_case))
    assert (pair.first.label, pair.second.label, pair.recomputed) == ("one", "two", True)
    assert pair.difference == pytest.approx(0.25)
    assert pair.interval == pytest.approx((0.25, 0.25))
    assert pair.verdict == "up"
    turned = pair.turned()
    assert (turned.first.label, turned.difference, turned.verdict) == ("two", pytest.approx(-0.25), "down")


def test_pairs_take_the_same_resamples(task_of: Callable[..., TaskScores]) -> None:
    gap = np.array((0.5, -0.25, 0.0))
    task = task_of({"one": (0.5, 0.0, 0.25), "two": (0.0, 0.25, 0.25)})
    (pair,) = pair_up(scores_of(task), Resampler(mean_by_case))
    by_hand = np.quantile((draw("synthetic", CASES)[1:] @ gap) / 3, (0.025, 0.975))
    assert pair.interval == pytest.approx(tuple(by_hand))
    assert pair.verdict == "even"


def test_less_is_better_turns_the_verdict(task_of: Callable[..., TaskScores]) -> None:
    task = task_of({"one": (3.0, 3.0, 3.0), "two": (2.0, 2.0, 2.0)}, higher_is_better=False)
    (pair,) = pair_up(scores_of(task), Resampler(mean_by_case))
    assert (pair.difference, pair.verdict) == (1.0, "down")
    (ranking,) = rank_models([task], Resampler(mean_by_case))
    assert [standing.model.label for standing in ranking.standings] == ["two", "one"]


def test_without_predictions_the_student_is_compared_as_recorded(task_of: Callable[..., TaskScores]) -> None:
    task = task_of({"one": (0.5, 0.5, 0.5), "two": (0.2, 0.2, 0.2), "three": (0.1, 0.1, 0.1)})
    scores = [
        dataclasses.replace(
            score,
            runs={
                run: dataclasses.replace(found, record=dataclasses.replace(found.record, predictions=None))
                for run, found in score.runs.items()
            },
        )
        for score in scores_of(task)
    ]
    pairs = pair_up(scores, Resampler(mean_by_case))
    assert [(pair.first.label, pair.second.label) for pair in pairs] == [("one", "two"), ("one", "three")]
    assert all((p.difference, p.interval, p.recomputed, p.verdict) == (0.25, (0.1, 0.4), False, "up") for p in pairs)
    turned = pair_up(scores[::-1], Resampler(mean_by_case))
    assert (turned[0].first.label, turned[0].second.label, turned[0].difference, turned[0].verdict) == (
        *("three", "one"),
        *(-0.25, "down"),
    )


def test_a_missing_file_and_one_of_another_run_are_named(task_of: Callable[..., TaskScores], tmp_path: Path) -> None:
    task = task_of({"one": (0.5, 0.5, 0.5), "two": (0.2, 0.2, 0.2), "three": (0.1, 0.1, 0.1)})
    (tmp_path / "task-two.safetensors").unlink()
    (tmp_path / "task-three.safetensors").write_bytes((tmp_path / "task-one.safetensors").read_bytes())
    (tmp_path / "task-one.safetensors").write_bytes(b"nothing")
    resampler = Resampler(mean_by_case)
    (ranking,) = rank_models([task], resampler)
    assert ranking.left_out == (("task", "no usable predictions: one, two, three"),)
    assert resampler.problems == [
        "predictions file 'task-one.safetensors' cannot be read; run the benchmark anew",
        "predictions file 'task-two.safetensors' is missing beside its results file",
        "predictions 'task-three.safetensors' of task (three, frozen, linear) give score 0.5000, its record says "
        "0.1000; they are of another run and are not used",
    ]


def test_a_measure_that_the_scorer_lacks_and_other_cases_are_named(task_of: Callable[..., TaskScores]) -> None:
    task = task_of({"one": (0.5, 0.5, 0.5)})
    nothing = Resampler(lambda predictions: [])
    assert nothing.values(task.scores[0]) == {}
    assert nothing.problems == ["predictions 'task-one.safetensors' of task (one, frozen, linear) give no score (mean)"]
    other = Resampler(lambda p: [dataclasses.replace(mean_by_case(p)[0], cases=("a", "b", "z"))])
    assert other.values(task.scores[0]) == {}
    assert other.problems == [
        "predictions 'task-one.safetensors' of task (one, frozen, linear) are for other cases than its record"
    ]


def test_ranks_share_ties_and_undefined_ones_come_last() -> None:
    nan = np.nan
    values = np.array([[0.5, 0.9, 0.5, 0.1], [1.0, 1.0, 1.0, 1.0], [0.1, nan, -0.2, nan], [nan, nan, nan, nan]])
    ranks = ranks_of(values)
    assert ranks[:3].tolist() == [[2.5, 1.0, 2.5, 4.0], [2.5, 2.5, 2.5, 2.5], [1.0, 3.5, 2.0, 3.5]]
    assert np.isnan(ranks[3]).all()


def test_mean_ranks_by_hand(task_of: Callable[..., TaskScores]) -> None:
    """In "sure" one is ahead on every case; in "open" it leads on case a only, so the draw decides."""
    sure = task_of({"one": (0.9, 0.9, 0.9), "two": (0.1, 0.1, 0.1)}, "sure")
    unsure = task_of({"one": (0.75, 0.0, 0.0), "two": (0.0, 0.25, 0.25)}, "open", dataset="other")
    (ranking,) = rank_models([sure, unsure], Resampler(mean_by_case))
    counts = draw("other", CASES)[1:]
    gaps = counts @ np.array((0.75, -0.25, -0.25))
    by_hand = (1 + np.where(gaps > 0, 1.0, np.where(gaps < 0, 2.0, 1.5))) / 2
    first, second = ranking.standings
    assert (ranking.tasks, ranking.left_out, ranking.resamples) == (("sure", "open"), (), RESAMPLES)
    assert (first.model.label, first.mean_rank, second.mean_rank) == ("one", 1.0, 2.0)
    assert np.array_equal(first.draws, by_hand)
    assert np.array_equal(second.draws, 3 - by_hand)
    assert first.interval == (1.0, 1.5)
    assert first.best == pytest.approx((by_hand < 1.5).mean() + (by_hand == 1.5).mean() / 2)
    assert first.best + second.best == pytest.approx(1)


def test_a_task_without_a_model_is_left_out_and_the_model_named(task_of: Callable[..., TaskScores]) -> None:
    both = task_of({"one": (0.9, 0.9, 0.9), "two": (0.1, 0.1, 0.1)}, "both")
    alone = task_of({"one": (0.9, 0.9, 0.9)}, "alone")
    (ranking,) = rank_models([both, alone], Resampler(mean_by_case))
    assert (ranking.tasks, ranking.left_out) == (("both",), (("alone", "not measured: two"),))
    assert rank_models([alone], Resampler(mean_by_case)) == []


def test_where_no_task_counts_there_are_no_standings(task_of: Callable[..., TaskScores]) -> None:
    task = task_of({"one": (0.9, 0.9, 0.9), "two": (0.1, 0.1, 0.1)}, primary=False)
    (ranking,) = rank_models([task], Resampler(mean_by_case))
    assert (ranking.standings, ranking.left_out) == ((), (("task", "no primary measure"),))

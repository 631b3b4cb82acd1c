"""Records in order: runs together, models told apart, conditions and measures in their order."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from statistics import stdev

import pytest

from evaluation.backbones import Identity
from evaluation.records import Floors, ResultRecord, Shots, Split, append_records
from evaluation.reporting.results import Found, read_results
from evaluation.reporting.scores import Condition, group_scores
from evaluation.skips import Skip, append_skips
from training.errors import UserError

NewRecord = Callable[..., ResultRecord]


def found(*records: ResultRecord) -> list[Found]:
    return [Found(record, Path("results.jsonl")) for record in records]


def test_subsets_become_one_score_with_its_spread(new_record: NewRecord) -> None:
    values = (0.2, 0.3, 0.7)
    shots = [Shots(2, "cases", subset) for subset in (2, 0, 1)]
    floors = [Floors(0.1, None, 0.3), Floors(0.2, None, 0.3), Floors(0.3, None, 0.3)]
    records = [
        new_record(value=value, shots=few, floors=floor)
        for value, few, floor in zip(values, shots, floors, strict=True)
    ]
    (task,) = group_scores(found(*records))
    (score,) = task.scores
    assert score.values == [0.3, 0.7, 0.2]  # by subset
    assert score.mean == pytest.approx(0.4)
    assert score.deviation == pytest.approx(stdev(values))
    assert score.spread_over == "3 subsets"
    assert score.interval is None
    assert (score.floor("majority"), score.floor("random_init")) == (pytest.approx(0.2), None)
    assert score.condition == Condition("frozen", "linear", 2, "cases")
    assert str(score.condition) == "frozen, linear, 2 cases"


def test_seeds_and_subsets_are_both_named(new_record: NewRecord) -> None:
    records = [
        new_record(seeds=(seed,), shots=Shots(1, "images per class", subset)) for seed in (0, 1) for subset in (0, 1)
    ]
    (task,) = group_scores(found(*records))
    assert task.scores[0].spread_over == "2 subsets x 2 seeds"
    assert task.scores[0].condition.labels == "1 image per class"


def test_an_undefined_run_takes_no_part_in_the_mean(new_record: NewRecord) -> None:
    records = [new_record(seeds=(seed,), value=value) for seed, value in enumerate((None, 0.4))]
    (task,) = group_scores(found(*records))
    assert (task.scores[0].mean, task.scores[0].deviation, len(task.scores[0].runs)) == (0.4, None, 2)
    (task,) = group_scores(found(new_record(value=None)))
    assert task.scores[0].mean is None


def test_order_is_condition_count_role_and_primary_measure(new_record: NewRecord) -> None:
    records = [
        new_record("majority"),
        new_record(metric="accuracy", primary=False),
        new_record(),
        new_record(protocol="few_shot", shots=Shots(4, "cases", 0)),
        new_record(protocol="few_shot", shots=Shots(1, "cases", 0)),
    ]
    (task,) = group_scores(found(*records))
    places = [(score.condition.count, score.model.role, score.measure.metric) for score in task.scores]
    mean = "mean_average_precision"
    assert places == [
        (None, "student", mean),
        (None, "student", "accuracy"),
        (None, "majority", mean),
        (1, "student", mean),
        (4, "student", mean),
    ]
    assert [measure.metric for measure in task.measures] == [mean, "accuracy"]


def test_models_that_share_a_name_are_told_apart(new_record: NewRecord) -> None:
    identities = [Identity("x", None, weights * 64, how * 64) for weights, how in ("ab", "cb", "cd")]
    records = [new_record(model="zen", backbone=identity) for identity in identities]
    (task,) = group_scores(found(*records))
    assert [score.model.label for score in task.scores] == ["zen (aaaaaa)", "zen (cccccc)", "zen (cccccc) #2"]


def test_other_test_cases_are_another_task(new_record: NewRecord) -> None:
    other = Split(("c1",), ("c9",), "made up", name="official")
    tasks = group_scores(found(new_record(), new_record(split=other, per_case={"c9": 0.1})))
    assert [task.title for task in tasks] == [
        "presence_synthetic (default split, 2 test cases)",
        "presence_synthetic (official split, 1 test cases)",
    ]


def test_a_repeated_measurement_is_kept_aside(new_record: NewRecord) -> None:
    first, again = new_record(), new_record(value=0.4, settings={"image_size": 336})
    (task,) = group_scores(found(first, first, again))
    assert task.scores[0].mean == 0.5
    assert [(kept.record.value, other.record.value) for kept, other in task.repeated] == [(0.5, 0.4)]


def test_files_are_read_once_each_and_done_skips_are_left_out(tmp_path: Path, new_record: NewRecord) -> None:
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    append_records(first, [new_record()])
    append_records(second, [new_record(), new_record(metric="accuracy")])
    stays = Skip("presence_synthetic", "lora", "", "", "'/home/me/x.mp4' is broken", "2026")
    done = Skip("presence_synthetic", "frozen", "", "student", "no memory", "2026")
    append_skips(second, [stays, done])
    results = read_results([first, second])
    assert [each.record.metric for each in results.found] == ["mean_average_precision", "accuracy"]
    assert results.skips == (dataclasses.replace(stays, reason="'x.mp4' is broken"),)
    named = dataclasses.replace(results.found[0], record=new_record(predictions="p/x.safetensors"))
    assert named.predictions == tmp_path / "p" / "x.safetensors"


def test_missing_and_empty_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"results file '.*none.jsonl' does not exist; evaluation.benchmark writes it"):
        read_results([tmp_path / "none.jsonl"])
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(UserError, match=r"'.*empty.jsonl': no record to report on; evaluation.benchmark appends them"):
        read_results([tmp_path / "empty.jsonl"])

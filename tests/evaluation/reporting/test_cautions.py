"""What is said before the numbers, and when nothing is."""

from pathlib import Path

from evaluation.records import Split
from evaluation.reporting.cautions import _some, cautions
from evaluation.reporting.results import Found
from evaluation.reporting.scores import TaskScores, group_scores

from .conftest import NewRecord

CASES = tuple(f"c{number}" for number in range(12))
FINE = {"split": Split(("t",), CASES, "made up"), "per_case": dict.fromkeys(CASES, 0.5), "pretraining_overlap": 0}


def tasks_of(*records) -> list[TaskScores]:
    return group_scores([Found(record, Path("r")) for record in records])


def test_nothing_is_said_where_nothing_is_wrong(new_record: NewRecord) -> None:
    assert cautions(tasks_of(new_record(**FINE), new_record("majority", **FINE)), []) == []


def test_each_caution(new_record: NewRecord) -> None:
    few = new_record()
    assert cautions(tasks_of(few), []) == [
        "Whether test files were in the pretraining corpus was not checked: presence_synthetic.",
        "Few test cases (presence_synthetic 2): an interval over so few says little about other hospitals, teams or "
        "devices.",
    ]
    overlap = new_record(**{**FINE, "pretraining_overlap": 3})
    assert cautions(tasks_of(overlap), []) == [
        "presence_synthetic: 3 test files were in the pretraining corpus; the student's value is not a held-out result."
    ]
    wide = new_record(**FINE, value=0.4, interval=(0.3, 0.5))
    assert cautions(tasks_of(wide), []) == [
        "Intervals at least 0.5 times as wide as the value of the primary measure: presence_synthetic: student "
        "(frozen, linear)."
    ]
    seeds = [new_record(**FINE, value=value, seeds=(seed,)) for seed, value in enumerate((None, 0.5))]
    assert cautions(tasks_of(*seeds), []) == [
        "presence_synthetic: undefined is mean_average_precision of student (frozen, linear) in 1 of 2 runs."
    ]
    again = new_record(**FINE), new_record(**FINE, value=0.6, settings={"image_size": 336})
    assert cautions(tasks_of(*again), []) == [
        "presence_synthetic: student (frozen, linear) was measured again with other values (1 records); the first is "
        "shown, table.csv has all."
    ]
    settings = new_record(**FINE), new_record("majority", **FINE, settings={"image_size": 336, "student_sha256": "a"})
    assert cautions(tasks_of(*settings), []) == [
        "presence_synthetic, frozen, linear: records differ in the settings image_size."
    ]
    assert cautions(tasks_of(new_record(**FINE)), ["predictions file 'x' is missing"]) == [
        "Predictions file 'x' is missing."
    ]


def test_long_lists_are_cut() -> None:
    labels = [str(number) for number in range(9)]
    assert _some(labels[:6]) == "0, 1, 2, 3, 4, 5"
    assert _some(labels) == "0, 1, 2, 3, 4, 5 and 3 more"

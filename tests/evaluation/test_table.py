import dataclasses
from collections.abc import Callable

from evaluation.records import Paired, ResultRecord
from evaluation.table import table_rows, tables, to_text, warnings

Make = Callable[..., ResultRecord]


def test_rows_stand_in_the_order_of_roles(new_record: Make) -> None:
    roles = ["majority", "teacher", "histogram", "student", "random_init"]
    rows = table_rows(new_record(role) for role in roles)
    assert [row.role for row in rows] == ["student", "random_init", "teacher", "histogram", "majority"]
    assert rows[0].difference is None
    assert (rows[1].difference, rows[1].difference_interval) == (0.1, (-0.1, 0.2))


def test_one_table_per_task_probe_variant_and_student(new_record: Make) -> None:
    records = [
        new_record(),
        new_record("teacher"),
        new_record(probe="knn"),
        new_record(task="cvs_endoscapes"),
        new_record(variant="other"),
        new_record("teacher", paired=Paired("student", "b" * 64, 0.0, None)),
    ]
    assert [len(members) for _, members in tables(table_rows(records))] == [2, 1, 1, 1, 1]


def test_text_is_aligned(new_record: Make) -> None:
    text = to_text(table_rows([new_record(), new_record("random_init", model="random init", value=0.25)]))
    assert text.splitlines() == [
        "presence_synthetic · frozen, linear probe · mean_average_precision (pooled frames) · 2 test cases",
        "model        role         value   95 % interval  student − model     95 % interval",
        "student      student      0.500  [0.400, 0.600]",
        "random init  random init  0.250  [0.400, 0.600]           +0.100  [-0.100, +0.200]",
    ]


def test_overlap_with_the_pretraining_corpus_is_loud(new_record: Make) -> None:
    rows = table_rows([new_record(pretraining_overlap=0), new_record("histogram", pretraining_overlap=None)])
    assert warnings(rows) == []
    rows = [dataclasses.replace(row, pretraining_overlap=3) for row in rows]
    assert "WARNING: 3 test files were in the pretraining corpus" in to_text(rows)


def test_no_records() -> None:
    assert to_text(table_rows([])) == ""

"""Results become tables, findings and metadata; records of other weights are refused."""

import pytest

from hub_cards.results import by_task, cautions, comparisons, eval_results, read_results
from hub_cards.run_records import read_run
from training.errors import UserError


@pytest.fixture
def weights(files):
    return read_run(files.run).weights_sha256


def test_tables_hold_the_student_first_with_its_records(files, weights):
    results = read_results(files.results, weights)
    assert [(table.head.task, table.head.probe) for table in results] == [
        ("presence_synthetic", "knn"),
        ("presence_synthetic", "linear"),
        ("segmentation_synthetic", "linear"),
    ]
    for table in results:
        assert [row.role for row in table.rows] == ["student", "random_init", "teacher", "histogram", "majority"]
        assert [record.model for record in table.records] == [row.model for row in table.rows]
        assert all(record.task == table.head.task and record.probe == table.head.probe for record in table.records)


def test_records_of_other_weights_are_refused(files, weights):
    with pytest.raises(UserError, match=r"record 1 of .*results.jsonl' .*is about weights .*give a results file"):
        read_results(files.results, "f" * 64)
    records = files.records()
    records[-1]["paired"]["against_sha256"] = "e" * 64
    files.write_records(records)
    with pytest.raises(UserError, match=r"record 15 of .* is about weights eeeeeeeeeeee"):
        read_results(files.results, weights)


def test_missing_and_empty_files_are_refused(files, weights):
    with pytest.raises(UserError, match=r"does not exist; evaluation.benchmark writes it"):
        read_results(files.results.with_name("other.jsonl"), weights)
    files.results.write_text("")
    with pytest.raises(UserError, match="holds no record"):
        read_results(files.results, weights)


def test_a_table_needs_its_student_and_each_model_once(files, weights):
    records = files.records()
    files.write_records(records[1:])
    with pytest.raises(UserError, match=r"presence_synthetic .*knn probe\) has no record of the student"):
        read_results(files.results, weights)
    files.write_records([*records, {**records[1], "settings": {"image_size": 64}}])
    with pytest.raises(UserError, match="has two records of 'random init', measured with other settings"):
        read_results(files.results, weights)


def test_a_card_shows_primary_measures_with_all_labels_where_the_student_has_a_value(files, weights):
    records = files.records()
    shots = {"count": 2, "unit": "cases", "subset": 0}
    others = [
        {**records[0], "primary": False, "metric": "accuracy"},
        {**records[0], "protocol": "few_shot", "shots": shots},
        *(
            {**record, "task": "skill", "value": None if number == 0 else 0.3}
            for number, record in enumerate(records[:3])
        ),
    ]
    files.write_records([*records, *others])
    assert len(read_results(files.results, weights)) == 3


def test_metadata_holds_only_the_student(files, weights):
    entries = eval_results(read_results(files.results, weights))
    assert [entry.metric_value for entry in entries] == [0.61, 0.61, 0.61]
    assert [entry.task_type for entry in entries] == [
        "image-classification",
        "image-classification",
        "image-segmentation",
    ]
    assert entries[0].metric_args["floors"] == {"majority": 0.25, "random_init": 0.42, "histogram": 0.6}
    assert entries[0].metric_args["test_cases"] == 2


def test_findings_say_what_is_not_shown(files, weights):
    results = read_results(files.results, weights)
    places = "presence_synthetic (knn), presence_synthetic (linear), segmentation_synthetic (linear)."
    assert comparisons(results) == [
        f"The teacher efficientnet_lite0 is better: {places}",
        f"No difference from color histogram is shown: {places}",
    ]
    (caution,) = cautions(results)
    assert caution.startswith("Few test cases (presence_synthetic 2, segmentation_synthetic 2)")


def test_findings_of_a_single_case_and_of_overlap(files, weights):
    records = [record for record in files.records() if record["task"] == "segmentation_synthetic"]
    for record in records:
        record["interval"] = None
        record["pretraining_overlap"] = 4
        if record["paired"]:
            record["paired"]["interval"] = None
    files.write_records(records)
    results = read_results(files.results, weights)
    assert "4 test files were in the pretraining corpus" in cautions(results)[0]
    assert comparisons(results)[0].startswith("No interval, so nothing is shown against random init (a single test")


def test_tables_of_one_task_stay_together_in_any_order_of_the_file(files, weights):
    records = files.records()
    files.write_records(records[:5] + records[10:] + records[5:10])
    grouped = by_task(read_results(files.results, weights))
    assert [(name, [table.head.probe for table in own]) for name, own in grouped] == [
        ("presence_synthetic", ["knn", "linear"]),
        ("segmentation_synthetic", ["linear"]),
    ]


def test_variants_of_one_task_are_told_apart(files, weights):
    records = [record for record in files.records() if record["task"] == "segmentation_synthetic"]
    others = [{**record, "variant": "other classes, mean over cases"} for record in records]
    files.write_records([*records, *others])
    text = " ".join(comparisons(read_results(files.results, weights)))
    assert "segmentation_synthetic (linear, other classes)" in text
    assert "segmentation_synthetic (linear, mean over classes present in the test cases)" in text

"""Result records become tables and findings; several runs stand together; records of other weights are refused."""

import pytest

from evaluation.reporting.cautions import cautions
from evaluation.reporting.scores import TaskScores
from hub_cards.result_text import difference_cell, floor_cell, model_cell, score_cell
from hub_cards.results import comparisons, difference, outside_intervals, read_results, result_tables, verdict
from hub_cards.run_records import read_run
from training.errors import UserError


@pytest.fixture
def weights(files):
    return read_run(files.run).weights_sha256


def several(record: dict, runs: list[tuple[dict | None, int, float]], **changes: object) -> list[dict]:
    """A record for each (shots, seed, shift of its values)."""
    made = []
    for shots, seed, shift in runs:
        copy = {**record, "shots": shots, "seeds": [seed], "value": record["value"] + shift, **changes}
        copy["floors"] = {name: value + shift for name, value in record["floors"].items()}
        if copy["interval"]:
            copy["interval"] = [bound + shift for bound in copy["interval"]]
        made.append(copy)
    return made


def few_shot(files, counts=(1, 2), subsets=(1, 2, 3)) -> list[dict]:
    """The knn records as few-shot ones: values rise by 0.1 from subset to subset."""
    return [
        made
        for record in files.records()[:5]
        for count in counts
        for subset in subsets
        for made in several(
            record,
            [({"count": count, "unit": "cases", "subset": subset}, 0, (subset - 2) / 10)],
            protocol="few_shot",
        )
    ]


def only(tasks: tuple[TaskScores, ...]):
    [task] = tasks
    [table] = result_tables(task)
    return table


def test_tables_hold_the_student_first(files, weights):
    tasks = read_results(files.results, weights).tasks
    tables = [(task.title, table) for task in tasks for table in result_tables(task)]
    assert [(title, table.conditions[0].probe) for title, table in tables] == [
        ("presence_synthetic", "knn"),
        ("presence_synthetic", "linear"),
        ("segmentation_synthetic", "linear"),
    ]
    for _, table in tables:
        roles = [model.role for model in table.models]
        assert roles == ["student", "random_init", "teacher", "histogram", "majority"]
        assert [score.model for [score] in table.scores] == list(table.models)
        assert table.chosen == ["train folds by case (mAP)"]
        assert not table.is_few_shot
        assert table.trained_parameters is None


def test_cells_of_a_single_run(files, weights):
    table = result_tables(read_results(files.results, weights).tasks[0])[0]
    student, random = table.scores[0][0], table.scores[1][0]
    assert score_cell(student) == "0.610 (0.560 to 0.660)"
    assert difference_cell(student) == "–"
    assert difference_cell(random) == "+0.190 (+0.150 to +0.230)"
    assert [floor_cell(student, name) for name in ("majority", "random_init", "histogram")] == [
        "0.250",
        "0.420",
        "0.600",
    ]
    assert score_cell(None) == difference_cell(None) == "–"


def test_seeds_stand_together_with_what_bounds_all_their_intervals(files, weights):
    record, other = files.records()[:2]
    seeds = [(None, 0, 0.0), (None, 1, 0.02)]
    files.write_records([*several(record, seeds), *several(other, seeds)])
    table = only(read_results(files.results, weights).tasks)
    assert table.spread == "2 seeds"
    # values 0.61 and 0.63: mean 0.62, deviation 0.02 / sqrt(2); intervals ±0.05
    assert score_cell(table.scores[0][0], table.spread) == "0.620 ± 0.014 (0.560 to 0.680)"
    assert score_cell(table.scores[0][0]) == "0.620 ± 0.014 (0.560 to 0.680; 2 seeds)"
    assert difference_cell(table.scores[1][0], table.spread) == "+0.190 (+0.150 to +0.230)"


def test_runs_that_differ_in_number_are_told_in_each_cell(files, weights):
    record, other = files.records()[:2]
    files.write_records([*several(record, [(None, 0, 0.0), (None, 1, 0.02)]), other])
    table = only(read_results(files.results, weights).tasks)
    assert table.spread == ""
    assert score_cell(table.scores[0][0], table.spread).endswith("; 2 seeds)")
    assert score_cell(table.scores[1][0], table.spread) == "0.420 (0.370 to 0.470)"


def test_few_shot_conditions_share_a_table(files, weights):
    files.write_records(few_shot(files))
    table = only(read_results(files.results, weights).tasks)
    assert table.is_few_shot
    assert [condition.labels for condition in table.conditions] == ["1 case", "2 cases"]
    assert table.spread == "3 subsets"
    # 0.51, 0.61 and 0.71
    assert score_cell(table.scores[0][0], table.spread) == "0.610 ± 0.100 (0.460 to 0.760)"


def test_all_labels_and_few_labels_are_different_tables(files, weights):
    trained = [
        {**record, "protocol": "lora", "details": {"trainable_parameters": 123}} for record in files.records()[:5]
    ]
    files.write_records([*files.records()[:5], *few_shot(files), *trained])
    [task] = read_results(files.results, weights).tasks
    tables = result_tables(task)
    assert [(table.conditions[0].protocol, table.is_few_shot) for table in tables] == [
        ("frozen", False),
        ("few_shot", True),
        ("lora", False),
    ]
    assert [table.trained_parameters for table in tables] == [None, None, 123]


def test_other_measures_stand_beside_the_primary_one(files, weights):
    records = files.records()[:5]
    others = [
        {**record, "primary": False, "metric": "hamming_loss", "variant": "all", "higher_is_better": False}
        for record in records
    ]
    files.write_records([*others, *records])
    table = only(read_results(files.results, weights).tasks)
    assert table.measure.metric == "mean_average_precision"
    assert [score.measure.metric for score in table.others] == ["hamming_loss"]


def test_a_table_without_a_value_of_the_student_is_left_out_and_said(files, weights):
    records = files.records()[:5]
    records[0] = {**records[0], "value": None, "interval": None}
    for record in records[1:]:
        record["paired"] = {**record["paired"], "difference": None, "interval": None}
    files.write_records(records)
    tasks = read_results(files.results, weights).tasks
    assert result_tables(tasks[0]) == []
    assert comparisons(tasks) == []
    assert "presence_synthetic: undefined is mean_average_precision of demo/hub (frozen, knn)." in cautions(tasks, ())


def test_undefined_values_of_others_are_said_in_their_cells(files, weights):
    records = files.records()[:5]
    records[4] = {**records[4], "value": None, "interval": None}
    records[4]["paired"] = {**records[4]["paired"], "difference": None, "interval": None}
    for record in records:
        record["floors"] = {**record["floors"], "majority": None}
    files.write_records(records)
    table = only(read_results(files.results, weights).tasks)
    assert score_cell(table.scores[4][0]) == difference_cell(table.scores[4][0]) == "undefined"
    assert floor_cell(table.scores[0][0], "majority") == "undefined"
    assert verdict(table.scores[4][0]) is None


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
    with pytest.raises(UserError, match="no record to report on"):
        read_results(files.results, weights)


def test_a_table_needs_its_student_and_each_model_once(files, weights):
    records = files.records()
    files.write_records(records[1:])
    with pytest.raises(UserError, match=r"task presence_synthetic \(frozen, knn\) has no record of the student"):
        read_results(files.results, weights)
    files.write_records([*records, {**records[1], "value": 0.5, "settings": {"image_size": 64}}])
    with pytest.raises(UserError, match="has two records of 'random init' with other values, measured with other"):
        read_results(files.results, weights)


def test_findings_say_what_is_not_shown(files, weights):
    tasks = read_results(files.results, weights).tasks
    places = "presence_synthetic (frozen, knn; frozen, linear); segmentation_synthetic (frozen, linear)."
    findings = comparisons(tasks)
    assert [finding.partition(":")[0] for finding in findings] == [
        "The teacher efficientnet_lite0 is better in 3 of 3 comparisons",
        "No difference from color histogram is shown in 3 of 3 comparisons",
    ]
    assert all(places in finding for finding in findings)


def test_findings_of_few_shot_conditions_name_the_labels_once(files, weights):
    files.write_records([*files.records()[:5], *few_shot(files)])
    findings = comparisons(read_results(files.results, weights).tasks)
    assert findings[1] == (
        "No difference from color histogram is shown in 3 of 3 comparisons: "
        "presence_synthetic (frozen, knn; few_shot, knn with 1 case, 2 cases)."
    )


def test_where_lower_is_better_a_positive_difference_is_worse(files, weights):
    files.write_records([{**record, "higher_is_better": False} for record in files.records()[:5]])
    table = only(read_results(files.results, weights).tasks)
    verdicts = {score.model.role: verdict(score) for [score] in table.scores[1:]}
    assert verdicts == {"random_init": "down", "teacher": "up", "histogram": "even", "majority": "down"}
    assert difference(table.scores[1][0]) == 0.19


def test_runs_must_agree_on_a_verdict(files, weights):
    record, other = files.records()[:2]
    seeds = [(None, 0, 0.0), (None, 1, 0.02)]
    changed = several(other, seeds)
    changed[1]["paired"] = {**other["paired"], "difference": -0.1, "interval": [-0.2, -0.05]}
    changed[1]["value"] = 0.73
    students = several(record, seeds)
    students[1]["floors"]["random_init"] = 0.73
    files.write_records([*students, *changed])
    table = only(read_results(files.results, weights).tasks)
    assert verdict(table.scores[1][0]) == "even"
    assert difference(table.scores[1][0]) == pytest.approx(0.045)  # mean of 0.19 and -0.1


def test_findings_of_a_single_case(files, weights):
    records = [record for record in files.records() if record["task"] == "segmentation_synthetic"]
    for record in records:
        record["interval"] = None
        if record["paired"]:
            record["paired"]["interval"] = None
    files.write_records(records)
    finding = comparisons(read_results(files.results, weights).tasks)[0]
    assert finding.startswith("No interval (a single test case, or an undefined value), so nothing is shown against ra")


def test_variants_of_one_task_are_told_apart(files, weights):
    records = [record for record in files.records() if record["task"] == "segmentation_synthetic"]
    others = [{**record, "variant": "other classes, mean over cases"} for record in records]
    files.write_records([*records, *others])
    text = " ".join(comparisons(read_results(files.results, weights).tasks))
    assert "mean over classes present in the test cases; frozen, linear, other classes, mean over cases" in text


def test_names_of_models_cannot_act(files, weights):
    table = result_tables(read_results(files.results, weights).tasks[0])[0]
    assert model_cell(table.models[0], "ZEN <b>") == "**ZEN &lt;b&gt;**"
    assert model_cell(table.models[2], "ZEN") == "efficientnet_lite0 (teacher)"


def edited(files, number: int, **changes: object) -> None:
    """Change a record of the file by hand."""
    records = files.records()
    records[number] = {**records[number], **changes}
    files.write_records(records)


def test_a_figure_changed_by_hand_contradicts_the_others(files, weights):
    original = files.results.read_text()
    edited(files, 0, value=0.91, interval=[0.86, 0.96])
    with pytest.raises(
        UserError,
        match=r"record 2 of .* \(presence_synthetic, random init\) states the difference 0.1900 to the student, but "
        r"the values differ by 0.4900: one of them was changed",
    ):
        read_results(files.results, weights)
    files.results.write_text(original)
    edited(files, 4, value=0.05, paired={**files.records()[4]["paired"], "difference": 0.56})
    with pytest.raises(UserError, match=r"has the value 0.05, but beside the student stands 0.25 for it: one of them"):
        read_results(files.results, weights)
    files.results.write_text(original)
    edited(files, 0, floors={**files.records()[0]["floors"], "majority": None})
    with pytest.raises(UserError, match=r"has the value 0.25, but beside the student stands None for it"):
        read_results(files.results, weights)


def test_numbers_that_are_none(files, weights):
    original = files.results.read_text()
    paired = files.records()[1]["paired"]
    for number, changes in (
        (0, {"per_case": {"h1": float("nan"), "h2": 0.5}}),
        (0, {"interval": [float("-inf"), 0.7]}),
        (1, {"paired": {**paired, "difference": float("nan")}}),
        (1, {"paired": {**paired, "interval": [0.1, float("inf")]}}),
    ):
        edited(files, number, **changes)
        with pytest.raises(
            UserError, match=rf"record {number + 1} of .* holds the figure (nan|-?inf); measure it again"
        ):
            read_results(files.results, weights)
        files.results.write_text(original)
    edited(files, 0, value=float("nan"))
    with pytest.raises(UserError, match=r"line 1 of results file .* is no result record of schema 2 \(value is nan\)"):
        read_results(files.results, weights)


def test_the_same_measurement_twice(files, weights):
    records = files.records()
    files.write_records([*records, {**records[0], "seconds": 9.0, "created": "2026-02-01T00:00:00+00:00"}])
    assert len(read_results(files.results, weights).tasks) == 2
    files.write_records([{**records[0], "value": 0.62}, *records])
    with pytest.raises(UserError, match=r"record 2 of .* measures what record 1 does, with other figures: keep one of"):
        read_results(files.results, weights)


def test_files_that_are_cut_or_of_another_schema(files, weights):
    text = files.results.read_text()
    files.results.write_text(text[:-40])
    with pytest.raises(UserError, match=r"line 15 of results file .* is no result record of schema 2"):
        read_results(files.results, weights)
    files.results.write_text(text)
    edited(files, 3, schema_version=1)
    with pytest.raises(UserError, match=r"line 4 of results file .*schema_version is 1, not 2"):
        read_results(files.results, weights)


def test_a_value_outside_of_its_interval_is_said(files, weights):
    assert outside_intervals(read_results(files.results, weights).tasks) == []
    edited(files, 0, interval=[0.62, 0.7])
    assert outside_intervals(read_results(files.results, weights).tasks) == [
        "The value lies outside of its own interval over cases in: presence_synthetic (frozen, knn, "
        "mean_average_precision of demo/hub)."
    ]

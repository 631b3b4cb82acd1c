"""The student's results as model-index entries and as files of .eval_results."""

import pytest
import yaml
from huggingface_hub import EvalResultEntry, parse_eval_result_entries

from hub_cards.evaluation_metadata import eval_results_files, model_index
from hub_cards.results import read_results
from hub_cards.run_records import read_run


@pytest.fixture
def tasks(files):
    return read_results(files.results, read_run(files.run).weights_sha256).tasks


def test_the_index_holds_only_the_student(tasks):
    entries = model_index(tasks)
    assert [entry.metric_value for entry in entries] == [0.61, 0.61, 0.61]
    assert [entry.task_type for entry in entries] == ["image-classification"] * 2 + ["image-segmentation"]
    assert entries[0].metric_args == {
        "protocol": "frozen",
        "probe": "knn",
        "training_labels": "all",
        "split": "default",
        "test_cases": 2,
        "higher_is_better": True,
        "interval_95": [pytest.approx(0.56), pytest.approx(0.66)],
        "floors": {"majority": 0.25, "random_init": 0.42, "histogram": 0.6},
        "test_files_in_pretraining": 0,
    }


def test_files_are_what_the_hub_library_reads(tasks):
    files = eval_results_files(tasks, "surgery")
    assert list(files) == [
        ".eval_results/presence_synthetic-frozen-knn.yaml",
        ".eval_results/presence_synthetic-frozen-linear.yaml",
        ".eval_results/segmentation_synthetic-frozen-linear.yaml",
    ]
    [entry] = parse_eval_result_entries(yaml.safe_load(next(iter(files.values()))))
    assert entry == EvalResultEntry(
        dataset_id="surgery/synthetic",
        task_id="presence_synthetic",
        value=0.61,
        date="2026-01-01T00:00:00+00:00",
        notes="mean_average_precision (mean over classes present in the test cases); frozen, knn; default split; "
        "95 % interval over 2 test cases 0.5600 to 0.6600; "
        "floors: majority 0.2500, random_init 0.4200, histogram 0.6000",
    )


def test_without_an_owner_the_data_set_goes_by_its_own_name(tasks):
    [entry] = yaml.safe_load(next(iter(eval_results_files(tasks).values())))
    assert entry["dataset"] == {"id": "synthetic", "task_id": "presence_synthetic"}


def test_several_runs_are_a_mean_with_its_spread(files):
    record = files.records()[0]
    files.write_records(
        [
            {
                **record,
                "protocol": "few_shot",
                "shots": {"count": 1, "unit": "cases", "subset": subset},
                "value": value,
                "higher_is_better": False,
            }
            for subset, value in ((1, 0.5), (2, 0.7))
        ]
    )
    tasks = read_results(files.results, read_run(files.run).weights_sha256).tasks
    [entry] = model_index(tasks)
    assert entry.metric_value == pytest.approx(0.6)
    assert entry.metric_args["mean_over"] == "2 subsets"
    assert entry.metric_args["standard_deviation"] == pytest.approx(0.2 / 2**0.5)
    assert entry.metric_args["training_labels"] == "1 case"
    [(name, text)] = eval_results_files(tasks).items()
    assert name == ".eval_results/presence_synthetic-few_shot-knn-1-case.yaml"
    assert "mean of 2 subsets, standard deviation 0.1414" in text
    assert "lower is better" in text


def test_names_of_tasks_cannot_leave_the_folder(files):
    files.write_records([{**files.records()[0], "task": "../../Ev il/task"}])
    tasks = read_results(files.results, read_run(files.run).weights_sha256).tasks
    assert list(eval_results_files(tasks)) == [".eval_results/ev-il-task-frozen-knn.yaml"]
    assert model_index(tasks)[0].task_type == "image-feature-extraction"

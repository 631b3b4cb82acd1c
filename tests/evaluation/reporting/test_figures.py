"""Figures show what the predictions say: bands in time, shares by true class, colors that can be told apart."""

import re
from pathlib import Path

import numpy as np
import pytest

from evaluation.datasets.samples import Target
from evaluation.predictions import Predictions
from evaluation.records import Shots, append_records
from evaluation.reporting import timelines
from evaluation.reporting.bars import bar_chart, shot_curves
from evaluation.reporting.confusion import confusion_matrices, count_confusions
from evaluation.reporting.drawing import chosen_models, class_colors, file_name, model_colors, shortened
from evaluation.reporting.plots import prediction_plots
from evaluation.reporting.precision_recall import precision_recall
from evaluation.reporting.results import Found, read_results
from evaluation.reporting.scatter import value_scatter
from evaluation.reporting.scores import Model, group_scores

from .conftest import Bench, NewRecord

MODEL = Model("one", "student", "0" * 64, "f" * 64)
NAMES = ("cut", "suture <b>", "idle")


def phases(
    seconds: list[float], targets: list[int], predicted: list[int], names: tuple[str, ...] = NAMES
) -> Predictions:
    count = len(seconds)
    scores = np.eye(len(names), dtype=np.float32)[predicted]
    target = Target("phase", "single", names)
    arrays = np.array(seconds), np.array(targets, dtype=np.int64), scores
    return Predictions("phase_made_up", "phase", target, ("a",) * count, ("video",) * count, *arrays)


def test_a_band_holds_a_class_until_the_next_sample_and_is_blank_in_gaps() -> None:
    seconds = np.array([0.0, 1.0, 2.0, 7.0])  # usually 1 s apart
    band = timelines._band(seconds, np.array([0, 1, 2, 0]))
    moments = (np.arange(timelines.COLUMNS) + 0.5) / timelines.COLUMNS * 8
    for moment, expected in ((0.5, 0), (1.5, 1), (4.4, 2), (4.6, -1), (6.9, -1), (7.5, 0)):
        assert band[np.abs(moments - moment).argmin()] == expected


def test_timelines_need_time_and_one_class() -> None:
    drawing = timelines.timelines("title", {MODEL: phases([0, 1, 2], [0, 1, 2], [0, 0, 2])})
    assert drawing is not None
    assert drawing.file.count("<image") == 2  # the truth and one model
    assert all(text in drawing.file for text in (">truth<", ">one<", "suture &lt;b&gt;"))
    assert timelines.timelines("title", {MODEL: phases([0, 0, 0], [0, 1, 2], [0, 0, 2])}) is None


def test_at_most_four_videos_are_spread_over_the_side() -> None:
    rows = [slice(start, start + 2) for start in range(0, 20, 2)]
    assert timelines._spread(rows, 4) == [rows[1], rows[3], rows[6], rows[8]]
    assert timelines._spread(rows[:2], 4) == rows[:2]
    assert timelines._spread([], 4) == []


def test_confusions_are_counted_by_true_class() -> None:
    each = phases([0, 1, 2, 3], [0, 0, 0, 1], [0, 0, 1, 2])
    assert count_confusions(each).tolist() == [[2, 1, 0], [0, 0, 1], [0, 0, 0]]
    drawing = confusion_matrices("title", {MODEL: each})
    assert drawing is not None
    assert "<title>cut taken for cut: 2 of 3 samples (67 %)</title>" in drawing.svg
    assert "<title>suture &lt;b&gt; taken for idle: 1 of 1 samples (100 %)</title>" in drawing.svg
    assert len(re.findall("taken for", drawing.svg)) == 6  # no cells for a class without samples
    assert ">67<" in drawing.svg


def test_with_many_classes_shares_show_on_hover_only() -> None:
    names = tuple(f"class {number}" for number in range(12))
    drawing = confusion_matrices("title", {MODEL: phases([0, 1], [0, 5], [0, 7], names)})
    assert drawing is not None
    assert "class 5 taken for class 7: 1 of 1 samples (100 %)" in drawing.svg
    assert ">100<" not in drawing.svg


def test_precision_recall_leaves_out_absent_classes() -> None:
    labels = np.array([[True, False], [False, False], [True, False]])
    scores = np.array([[1.0, 0.0], [-1.0, 0.0], [2.0, 0.0]], dtype=np.float32)
    names, cases = ("grasper", "never"), ("a", "b", "c")
    each = Predictions("t", "presence", Target("tool", "multi", names), cases, cases, np.zeros(3), labels, scores)
    drawing = precision_recall("title", {MODEL: each})
    assert drawing is not None
    assert "grasper (2)" in drawing.file
    assert "never" not in drawing.file
    assert "one, mAP 1.000" in drawing.file
    assert value_scatter("title", {MODEL: each}) is None
    assert confusion_matrices("title", {MODEL: each}) is None


def test_colors_repeat_for_no_class_and_floors_are_gray() -> None:
    for count in (1, 9, 10, 100):
        assert len(set(class_colors(count))) == count
    floor = Model("random init", "random_init", "1" * 64, "f" * 64)
    colors = model_colors([floor, MODEL])
    assert colors[floor] != colors[MODEL]
    assert chosen_models([floor, MODEL]) == [MODEL]


def test_names_of_files_and_in_figures() -> None:
    assert re.fullmatch(r"a-b-1-c-[0-9a-f]{6}", file_name("A/b", "1__c"))
    assert file_name("a b") != file_name("a-b")
    assert shortened("_x\n" + "y" * 40) == f" _x {'y' * 12}…{'y' * 14}"


def test_the_dashed_line_is_the_same_probe_with_all_labels(new_record: NewRecord) -> None:
    few = [new_record(protocol="few_shot", shots=Shots(count, "cases", 0), value=0.2) for count in (1, 4)]
    found = [Found(record, Path("r")) for record in (*few, new_record(value=0.9), new_record(probe="knn", value=0.4))]
    (task,) = group_scores(found)
    colors = model_colors(score.model for score in task.scores)
    (curve,) = shot_curves(task, task.measures[0], colors)
    without = shot_curves(group_scores(found[:2])[0], task.measures[0], colors)[0]
    assert curve.file.count("stroke-dasharray") == without.file.count("stroke-dasharray") + 1
    assert curve.title == "presence_synthetic: mean_average_precision by number of labeled cases, linear probe"
    assert bar_chart(group_scores(found[:2])[0], task.measures[0], colors) is None


@pytest.mark.parametrize("kind", ["missing", "of other samples"])
def test_a_file_that_cannot_be_shown_is_named(bench: Bench, kind: str) -> None:
    bench.measure("presence_made_up", skills={"zen-a": 0.45, "zen-b": 0.4})
    first, second = sorted((bench.file.parent / "predictions").iterdir())
    if kind == "missing":
        second.unlink()
    else:
        other = Bench(bench.file.parent / "other", bench._new_record, videos=2)
        other.measure("presence_made_up", skills={"zen-a": 0.45})
        second.write_bytes(next((bench.file.parent / "other" / "predictions").iterdir()).read_bytes())
    (task,) = group_scores(read_results([bench.file]).found)
    problems: list[str] = []
    (plots,) = prediction_plots(task, problems)
    assert [drawing.title for drawing in plots.drawings] == ["presence_made_up, frozen, linear: precision and recall"]
    assert len(problems) == 1
    assert second.name in problems[0]
    assert kind in problems[0]
    assert first.name not in problems[0]


def test_several_seeds_show_the_first(new_record: NewRecord, bench: Bench) -> None:
    records = bench.measure("presence_made_up", skills={"zen-a": 0.45})
    bench.file.unlink()
    again = [new_record(**{**vars(record), "role": "student", "seeds": (1,)}) for record in records]
    append_records(bench.file, [*records, *again])
    (task,) = group_scores(read_results([bench.file]).found)
    (plots,) = prediction_plots(task, [])
    assert plots.run == "of the first seed"

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evaluation.backbones import Identity
from evaluation.records import Floors, Paired, ResultRecord, Shots, Split, append_records, read_records
from training.errors import UserError

Make = Callable[..., ResultRecord]


def test_round_trip(tmp_path: Path, new_record: Make) -> None:
    records = [new_record(), new_record("teacher"), new_record(interval=None)]
    append_records(tmp_path / "deep" / "results.jsonl", records[:1])
    append_records(tmp_path / "deep" / "results.jsonl", records[1:])
    assert read_records(tmp_path / "deep" / "results.jsonl") == records
    first = json.loads((tmp_path / "deep" / "results.jsonl").read_text().splitlines()[0])
    assert first["schema_version"] == 2
    assert first["hyperparameters"]["chosen_on"] == "train folds by case"


def test_no_file_has_no_records(tmp_path: Path) -> None:
    assert read_records(tmp_path / "results.jsonl") == []


def test_key_tells_what_would_be_measured_again(new_record: Make) -> None:
    assert new_record().key == new_record(value=0.9, created="later", seconds=9.0).key
    others = [
        new_record("teacher"),
        new_record(task="cvs_endoscapes"),
        new_record(probe="knn"),
        new_record(variant="per image"),
        new_record(shots=Shots(1, "cases", 0)),
        new_record(seeds=(1,)),
        new_record(settings={"image_size": 448}),
        new_record(backbone=Identity("student", None, "b" * 64, "f" * 64)),
    ]
    assert len({new_record().key, *(other.key for other in others)}) == len(others) + 1


def test_student_of_a_record(new_record: Make) -> None:
    assert new_record("teacher").student_sha256 == new_record().student_sha256 == "a" * 64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 1}, "schema_version is 1, this program writes and reads 2"),
        ({"model_role": "rival"}, "model_role is 'rival'; possible are student, random_init, teacher"),
        ({"paired": Paired("student", "a", 0.0, None)}, "every record but the student's carries 'paired'"),
        ({"per_case": {"c3": 0.4}}, "per_case must name exactly the test cases"),
        ({"value": float("nan")}, "value is nan"),
        ({"floors": Floors(0.1, float("nan"), 0.3)}, "random_init is nan"),
        ({"interval": (0.6, 0.4)}, r"interval \(0.6, 0.4\) is not of the form \(low, high\)"),
    ],
)
def test_refused_values(new_record: Make, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        new_record(**changes)


def test_a_split_that_leaks() -> None:
    with pytest.raises(ValueError, match="case 'c1' is on both sides of the split"):
        Split(("c1",), ("c1",), "made up")
    with pytest.raises(ValueError, match="no test case"):
        Split(("c1",), (), "made up")


def edited(change: Callable[[dict[str, Any]], Any]) -> Callable[[str], str]:
    def edit(line: str) -> str:
        content = json.loads(line)
        change(content)
        return json.dumps(content)

    return edit


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda line: "{broken", r"line 2 of results file '.*results.jsonl' is no result record of schema 2"),
        (lambda line: line[:100], "line 2 of results file"),
        (lambda line: "", "line 2 of results file"),
        (lambda line: "[1]", "ResultRecord is a list, not an object"),
        (edited(lambda r: r.update(schema_version=7)), "schema_version is 7, not 2"),
        (edited(lambda r: r.pop("value")), "ResultRecord lacks 'value'"),
        (edited(lambda r: r.update(vlaue=1)), "ResultRecord has the unknown key 'vlaue'"),
        (edited(lambda r: r["floors"].pop("majority")), "Floors lacks 'majority'"),
        (edited(lambda r: r["hyperparameters"].update(chosen_on="test")), "chosen_on is 'test'; possible are"),
        (edited(lambda r: r["split"].update(train_cases=["c3"])), "case 'c3' is on both sides"),
        (edited(lambda r: r.update(interval=[1])), "line 2 of results file"),
    ],
)
def test_a_foreign_line_is_named(tmp_path: Path, new_record: Make, damage: Callable[[str], str], message: str) -> None:
    path = tmp_path / "results.jsonl"
    line = new_record().to_line()
    path.write_text(line + damage(line) + "\n")
    with pytest.raises(UserError, match=message):
        read_records(path)


def test_a_folder_or_a_binary_file_as_results(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder"):
        read_records(tmp_path)
    (tmp_path / "results.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not text; choose another --output"):
        read_records(tmp_path / "results.jsonl")


def test_appending_keeps_what_was_there(tmp_path: Path, new_record: Make) -> None:
    path = tmp_path / "results.jsonl"
    append_records(path, [new_record()])
    before = path.read_bytes()
    append_records(path, [new_record("histogram")])
    assert path.read_bytes().startswith(before)
    assert path.read_bytes().endswith(b"}\n")


def test_fields_are_those_of_the_documented_schema() -> None:
    names = {field.name for field in dataclasses.fields(ResultRecord)}
    documented = "model model_role backbone task dataset split protocol probe metric variant value per_case interval"
    documented += " paired hyperparameters seeds floors package_versions device seconds created schema_version"
    assert set(documented.split()) <= names

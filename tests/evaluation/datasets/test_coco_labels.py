from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evaluation.datasets.coco_labels import case_labels, read_cases
from evaluation.datasets.workflow import Track
from tests.evaluation.datasets.coco_files import coco, write_coco
from training.errors import UserError

FIELDS = {"phase": "phases", "step": "steps"}


def content(case: str = "CASE001") -> dict[str, Any]:
    return coco({case: [36, 1]}, "phases", "steps", boxes=2)


def test_labels_by_case_in_order_of_frames(tmp_path: Path) -> None:
    tracks, cases = read_cases("tiny", [write_coco(tmp_path / "a.json", content())], FIELDS)
    assert tracks == (Track("phase", ("Idle", "LPIL", "RPIL")), Track("step", ("Idle", "Cut")))
    labels = cases["CASE001"]
    assert labels.frames.tolist() == [1, 36]  # 36 comes first in the file
    assert {name: values.tolist() for name, values in labels.labels.items()} == {"phase": [2, 0], "step": [1, 0]}


def test_ids_go_by_the_categories_of_the_file(tmp_path: Path) -> None:
    labeled = content()
    labeled["phases_categories"] = [{"id": 2, "name": "second"}, {"id": 0, "name": "first"}]
    tracks, cases = read_cases("tiny", [write_coco(tmp_path / "a.json", labeled)], FIELDS)
    assert tracks[0].classes == ("first", "second")
    assert cases["CASE001"].labels["phase"].tolist() == [1, 0]


def test_images_without_annotation_are_left_out_and_minus_one_is_unlabeled(tmp_path: Path) -> None:
    labeled = content()
    labeled["images"].append({"id": 1, "file_name": "CASE001/00002.jpg"})
    labeled["annotations"].append({"image_id": 1, "phases": -1, "steps": 1})
    labeled["images"].append({"id": 2, "file_name": "CASE001/00003.jpg"})
    cases = read_cases("tiny", [write_coco(tmp_path / "a.json", labeled)], FIELDS)[1]
    assert cases["CASE001"].frames.tolist() == [1, 2, 36]
    assert cases["CASE001"].labels["phase"].tolist() == [2, -1, 0]


def unknown_phase(labeled: dict[str, Any]) -> None:
    labeled["annotations"].append({"image_id": 100, "phases": 7, "steps": 1})


def two_phases(labeled: dict[str, Any]) -> None:
    labeled["annotations"].append({"image_id": 100, "phases": 1, "steps": 0})


def list_of_phases(labeled: dict[str, Any]) -> None:
    labeled["annotations"].append({"image_id": 100, "phases": [1], "steps": 1})


def no_phase(labeled: dict[str, Any]) -> None:
    labeled["annotations"].append({"image_id": 100, "steps": 1})


def no_image(labeled: dict[str, Any]) -> None:
    labeled["annotations"].append({"image_id": 7, "phases": 1, "steps": 1})


def other_name(labeled: dict[str, Any]) -> None:
    labeled["images"].append({"id": 7, "file_name": "frame1.jpg"})


def no_categories(labeled: dict[str, Any]) -> None:
    labeled["steps_categories"] = ["Idle"]


def no_annotations(labeled: dict[str, Any]) -> None:
    del labeled["annotations"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (unknown_phase, "annotation 5 of '.*a.json' has phases 7; known are 0, 1, 2"),
        (two_phases, "annotation 5 of '.*a.json' has phases 1, another annotation of CASE001, frame 36, does not"),
        (list_of_phases, r"annotation 5 of '.*a.json' has phases \[1\]; known are 0, 1, 2"),
        (no_phase, "annotation 5 of '.*a.json' has phases None; known are"),
        (no_image, "annotation 5 of '.*a.json' has no 'image_id' of an image of the file"),
        (other_name, "image 3 of '.*a.json' lacks a numeric 'id' or a 'file_name' of the form CASE001/00001.jpg"),
        (no_categories, "a.json' has no list 'steps_categories' of objects with 'id' and 'name'"),
        (no_annotations, "a.json' has no list 'annotations'"),
    ],
)
def test_files_that_are_not_understood(change: Callable[[dict[str, Any]], None], message: str, tmp_path: Path) -> None:
    labeled = content()
    change(labeled)
    with pytest.raises(UserError, match=message):
        read_cases("tiny", [write_coco(tmp_path / "a.json", labeled)], FIELDS)


def test_two_files(tmp_path: Path) -> None:
    files = [write_coco(tmp_path / f"{case}.json", content(case)) for case in ("CASE001", "CASE002")]
    cases = read_cases("tiny", files, FIELDS)[1]
    assert cases.keys() == {"CASE001", "CASE002"}
    with pytest.raises(UserError, match=r"case 'CASE003' of the split is not in '.*CASE001.json' and '.*CASE002.json'"):
        case_labels("tiny", "CASE003", cases, files)
    write_coco(files[1], content("CASE001"))
    with pytest.raises(UserError, match=r"CASE001.json' and '.*CASE002.json' are both of case 'CASE001'"):
        read_cases("tiny", files, FIELDS)
    write_coco(
        files[1], {**content("CASE002"), "steps_categories": [{"id": 0, "name": "Idle"}, {"id": 1, "name": "X"}]}
    )
    with pytest.raises(UserError, match=r"the categories of '.*CASE002.json' are not those of '.*CASE001.json'"):
        read_cases("tiny", files, FIELDS)
    files[1].unlink()
    with pytest.raises(UserError, match=r"CASE002.json' is missing"):
        read_cases("tiny", files, FIELDS)

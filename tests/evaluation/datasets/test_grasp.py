from pathlib import Path

import pytest

from evaluation.datasets import grasp
from evaluation.datasets.workflow import WORKFLOW_DATASETS, WorkflowDataset, load_split
from tests.evaluation.datasets.coco_files import coco, write_coco
from tests.evaluation.datasets.layouts import split, write_images
from training.errors import UserError

# Case 1 counts at 45 a second and lacks the label of second 2, case 41 counts at 30.
FRAMES = {"CASE001": [0, 45, 135, 180, 225], "CASE041": [0, 30, 60]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    home = tmp_path / "GraSP_30fps"
    for name, case in (("train", "CASE001"), ("test", "CASE041")):
        content = coco({case: FRAMES[case]}, "phases", "steps", digits=9)
        write_coco(home / "annotations" / f"grasp_long-term_{name}.json", content)
        write_images(home / "frames" / case, [f"{frame:09d}.jpg" for frame in (*FRAMES[case], 1, 2, 3)])
    return home


def scan(root: Path, fps: float = 1) -> WorkflowDataset:
    return grasp.scan(root, split(["CASE001"], ["CASE041"]), fps)


def test_the_rate_of_a_case_is_the_usual_distance_of_its_labels(root: Path) -> None:
    videos = scan(root).videos
    assert [(video.case_id, video.side, video.fps) for video in videos] == [
        ("CASE001", "train", 45),
        ("CASE041", "test", 30),
    ]
    assert videos[0].frames.tolist() == FRAMES["CASE001"]
    assert videos[1].seconds.tolist() == [0, 1, 2]
    assert videos[1].files[1].name == "000000030.jpg"
    assert {name: labels.tolist() for name, labels in videos[1].labels.items()} == {
        "phase": [0, 2, 2],
        "step": [0, 1, 1],
    }


def test_the_release_of_one_frame_a_second(tmp_path: Path) -> None:
    for name, case in (("train", "CASE001"), ("test", "CASE041")):
        content = coco({case: range(4)}, "phases", "steps")
        write_coco(tmp_path / "annotations" / f"grasp_long-term_{name}.json", content)
        write_images(tmp_path / "frames" / case, [f"{frame:05d}.jpg" for frame in range(4)])
    video = scan(tmp_path).videos[0]
    assert (video.fps, video.frames.tolist()) == (1, [0, 1, 2, 3])


def test_found_and_registered(root: Path) -> None:
    assert grasp.find(root.parent) == grasp.find(root) == root
    assert grasp.find(root / "frames") is None
    assert WORKFLOW_DATASETS.get("grasp").scan is grasp.scan


def test_shipped_split() -> None:
    official = load_split("grasp")
    assert (official.name, len(official.train), official.val, len(official.test)) == ("official", 8, (), 5)
    psi_ava = load_split("psi_ava")
    assert set(official.train) == {*psi_ava.train, *psi_ava.test}  # so that both must not be mixed


def test_a_labeled_frame_without_image(root: Path) -> None:
    (root / "frames" / "CASE001" / "000000045.jpg").unlink()
    with pytest.raises(UserError, match=r"frame 45, labeled in '.*grasp_long-term_train.json', has no image in"):
        scan(root)


def test_a_case_with_one_label_has_no_rate(root: Path) -> None:
    content = coco({"CASE041": [30]}, "phases", "steps")
    write_coco(root / "annotations" / "grasp_long-term_test.json", content)
    with pytest.raises(UserError, match=r"grasp_long-term_test.json' labels 1 frame of CASE041; two are needed"):
        scan(root)


def test_missing_file(root: Path) -> None:
    (root / "annotations" / "grasp_long-term_test.json").unlink()
    with pytest.raises(UserError, match=r"grasp_long-term_test.json' is missing"):
        scan(root)

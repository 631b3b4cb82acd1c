import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from evaluation.datasets import psi_ava
from evaluation.datasets.workflow import WORKFLOW_DATASETS, WorkflowDataset, load_split
from tests.evaluation.datasets.coco_files import PHASES, STEPS, coco, write_coco
from tests.evaluation.datasets.layouts import split, write_images
from training.errors import UserError

REALDATA = os.environ.get("ZEN_REALDATA", "")


def write_dataset(root: Path, labels: str, frames: str) -> Path:
    for name, case in (("train", "CASE001"), ("val", "CASE002")):
        content = coco({case: [1, 36, 71]}, "phase", "step", boxes=3)
        write_coco(root / labels / "fold1" / "coco_anns" / f"{name}_coco_anns_v3_35s.json", content)
        write_images(root / frames / case, [f"{frame:05d}.jpg" for frame in (1, 2, 36, 71)])
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "outputs", "data_annotations/psi-ava", "PSIAVA/keyframes")


def scan(root: Path, fps: float = 1) -> WorkflowDataset:
    return psi_ava.scan(root, split(["CASE001"], ["CASE002"]), fps)


def test_phases_and_steps_of_keyframes(root: Path) -> None:
    dataset = scan(root)
    assert [(video.case_id, video.side) for video in dataset.videos] == [("CASE001", "train"), ("CASE002", "test")]
    assert [list(track.classes) for track in dataset.tracks] == [PHASES, STEPS]
    video = dataset.videos[0]
    assert (video.fps, video.frames.tolist()) == (1, [1, 36, 71])
    assert [file.name for file in video.files] == ["00001.jpg", "00036.jpg", "00071.jpg"]
    assert {name: values.tolist() for name, values in video.labels.items()} == {"phase": [0, 2, 2], "step": [0, 1, 1]}


def test_the_same_without_folders_between(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "psi-ava", "", "")
    (root / "keyframes").mkdir()
    for case in ("CASE001", "CASE002"):
        (root / case).rename(root / "keyframes" / case)
    assert psi_ava.find(root.parent) == root
    assert len(scan(root).videos) == 2


def test_found_and_registered(root: Path) -> None:
    assert psi_ava.find(root.parent) == psi_ava.find(root) == root
    assert psi_ava.find(root / "PSIAVA") is None
    assert WORKFLOW_DATASETS.get("psi_ava").scan is psi_ava.scan


def test_shipped_splits() -> None:
    first, second = load_split("psi_ava"), load_split("psi_ava", "fold2")
    assert (first.name, first.test) == ("fold1", ("CASE002", "CASE003", "CASE007", "CASE021"))
    assert (first.train, first.test, first.val) == (second.test, second.train, second.val)


def test_a_keyframe_without_image(root: Path) -> None:
    (root / "PSIAVA" / "keyframes" / "CASE002" / "00036.jpg").unlink()
    with pytest.raises(UserError, match=r"frame 36, labeled in '.*val_coco_anns_v3_35s.json', has no image in '.*002'"):
        scan(root)


def test_missing_parts(root: Path) -> None:
    (root / "data_annotations/psi-ava/fold1/coco_anns/train_coco_anns_v3_35s.json").unlink()
    with pytest.raises(UserError, match=r"train_coco_anns_v3_35s.json' is missing"):
        scan(root)


def test_missing_images(root: Path) -> None:
    shutil.rmtree(root / "PSIAVA")
    with pytest.raises(UserError, match=r"'.*keyframes/CASE001' is missing"):
        scan(root)


@pytest.mark.realdata
@pytest.mark.skipif(not REALDATA, reason="PSI-AVA annotations: ZEN_REALDATA is not set")
def test_the_genuine_file_of_fold_1(tmp_path: Path) -> None:
    genuine = Path(REALDATA) / "annotations" / "psi-ava" / "fold1_val_coco_anns_v3_35s.json"
    content = json.loads(genuine.read_text())
    folder = tmp_path / "fold1" / "coco_anns"
    write_coco(folder / "train_coco_anns_v3_35s.json", {**content, "images": [], "annotations": []})
    (folder / "val_coco_anns_v3_35s.json").symlink_to(genuine)
    for image in content["images"]:
        (tmp_path / "keyframes" / image["file_name"]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "keyframes" / image["file_name"]).touch()
    cases = load_split("psi_ava").test  # those of this file
    dataset = psi_ava.scan(tmp_path, split(cases[:3], cases[3:]), 1)
    assert {video.case_id: len(video.frames) for video in dataset.videos} == {
        "CASE002": 308,
        "CASE003": 198,
        "CASE007": 258,
        "CASE021": 254,
    }  # 1018 of 1029 images: 11 have no box
    phases, steps = (np.concatenate([video.labels[name] for video in dataset.videos]) for name in ("phase", "step"))
    assert np.bincount(phases).tolist() == [358, 106, 127, 123, 23, 57, 58, 11, 28, 63, 64]
    assert (steps == 0).sum() == 358
    phase, step = (track.classes for track in dataset.tracks)
    assert (len(phase), phase[7], len(step), step[20]) == (11, "Denonvilliers_Fascia", 21, "Clip_Pedicles")

import json
from pathlib import Path

import numpy as np
import pytest

from evaluation.datasets import hyperkvasir
from evaluation.datasets.samples import SAMPLE_DATASETS
from evaluation.datasets.workflow import WORKFLOW_DATASETS, LabeledVideo, WorkflowDataset
from evaluation.leakage import cases
from evaluation.leakage.cases import find_cases, shared_in_splits
from tests.evaluation.datasets.layouts import edit_line
from tests.evaluation.leakage.folders import POLYPS, TABLE, name_of, write_hyperkvasir
from training.errors import UserError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_hyperkvasir(tmp_path / "data" / "hyper-kvasir")


def test_cases_of_samples(root: Path) -> None:
    found = find_cases([root.parent])
    assert (found.findings, found.unread) == ([], [])
    (dataset,) = found.datasets
    assert (dataset.dataset, dataset.root, dataset.split) == ("hyperkvasir", root, "fold_1")
    assert [case.name for case in dataset.on("train")] == [name_of(0), name_of(1)]
    assert dataset.on("test")[1].files == (root / POLYPS / f"{name_of(3)}.jpg",)
    assert dataset.place(dataset.cases[0].files[0]) == f"{POLYPS}/{name_of(0)}.jpg"


def test_cases_of_still_records(endoscapes_folder: Path) -> None:
    dataset = next(each for each in find_cases([endoscapes_folder]).datasets if each.dataset == "endoscapes")
    assert [(case.name, case.side, len(case.files)) for case in dataset.cases][-2:] == [
        ("10", "test", 3),
        ("11", "test", 3),
    ]


def test_cases_of_videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = WORKFLOW_DATASETS.get("cholec80")
    frames = np.array([0, 25])

    def scan(home: Path, split: object, fps: float) -> WorkflowDataset:
        sides = {"video01": "train", "video41": "test"}
        videos = [LabeledVideo(case, side, home / f"{case}.mp4", 25.0, frames, {}) for case, side in sides.items()]
        return WorkflowDataset("cholec80", home, (), tuple(videos), "40_8_32", f"at {fps}")

    read = cases._of_videos(reader.name, scan, tmp_path)
    assert [frame.frame_index for frame in read.cases[0].frames] == [0, 25]
    assert read.cases[1].files == (tmp_path / "video41.mp4",)


def test_a_dataset_that_cannot_be_read_is_named_and_the_others_go_on(root: Path, synthetic_folder: Path) -> None:
    edit_line(root / TABLE, 2, f"{name_of(0)}.jpg;polip;0")
    found = find_cases([root.parent, synthetic_folder])
    assert [dataset.dataset for dataset in found.datasets] == ["synthetic"]
    ((name, reason),) = found.unread
    assert name == "hyperkvasir"
    assert "row 1" in reason
    assert "'polip'" in reason


def test_a_case_on_two_sides_is_a_finding(fresh_endoscapes: Path) -> None:
    for kind in ("images", "masks"):
        suffix = "jpg" if kind == "images" else "png"
        (fresh_endoscapes / "val" / kind / f"10_750.{suffix}").rename(
            fresh_endoscapes / "val" / kind / f"1_99.{suffix}"
        )
    file = fresh_endoscapes / "val" / "annotations.json"
    entries = json.loads(file.read_text())
    entries["1_99"] = {**entries.pop("10_750")}
    entries["1_99"]["annotations"][0]["video_id"] = 1
    file.write_text(json.dumps(entries))
    found = find_cases([fresh_endoscapes])
    finding = next(finding for finding in found.findings if finding.dataset == "endoscapes")
    assert finding.kind == "case on two sides"
    assert "case '1' is on both sides of the split" in finding.message
    assert not [reason for reason in found.unread if reason[0] == "endoscapes"]


def test_splits_with_shared_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.datasets.workflow.SPLITS", tmp_path)
    monkeypatch.setattr(cases, "SPLITS", tmp_path)
    splits = {
        "good": {"source": "", "train": ["a"], "val": ["b"], "test": ["c"]},
        "shared": {"source": "", "train": ["a", "b"], "test": ["b"]},
        "same": {"source": "", "train": ["a"], "val": ["c", "d"], "test": ["d", "c"]},
    }
    (tmp_path / "hyperkvasir.json").write_text(json.dumps({"default": "good", "splits": splits}))
    shared, same = shared_in_splits("hyperkvasir")
    assert (shared.kind, same.kind) == ("case on two sides", "val equals test")
    assert "case 'b' is on the sides train and test of split 'shared'" in shared.message
    assert "split 'same'" in same.message
    assert shared_in_splits("lapgyn4") == []


def test_shipped_splits_share_no_case() -> None:
    assert [finding for name in WORKFLOW_DATASETS.names() for finding in shared_in_splits(name)] == []
    assert [finding for name in SAMPLE_DATASETS.names() for finding in shared_in_splits(name)] == []


def test_a_root_that_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data root '.*nowhere' is no folder"):
        find_cases([tmp_path / "nowhere"])


def test_readers_of_every_registry_are_asked() -> None:
    names = [name for name, _, _ in cases._readers()]
    assert {"synthetic", "cholec80", hyperkvasir.NAME} <= set(names)
    assert len(set(names)) == len(names)

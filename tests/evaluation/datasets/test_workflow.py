import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation.datasets import workflow
from evaluation.datasets.workflow import LabeledVideo, Track, WorkflowDataset, at_rate, load_split, read_rows
from training.errors import UserError

PHASE, TOOL = Track("phase", ("a", "b")), Track("tool", ("x", "y", "z"), several=True)


def video(root: Path, case: str, side: str) -> LabeledVideo:
    labels = {"phase": np.array([0, 1, -1]), "tool": np.zeros((3, 3), np.int8)}
    return LabeledVideo(case, side, root / f"{case}.mp4", 25.0, np.array([0, 25, 50]), labels)  # type: ignore[arg-type]


def dataset(root: Path, *videos: LabeledVideo) -> WorkflowDataset:
    return WorkflowDataset("d", root, (PHASE, TOOL), videos, "official", "a paper")


def test_times_and_fingerprint(tmp_path: Path) -> None:
    first, second = video(tmp_path, "1", "train"), video(tmp_path, "2", "test")
    assert first.seconds.tolist() == [0, 1, 2]
    whole = dataset(tmp_path, first, second).fingerprint()
    assert whole == dataset(tmp_path, video(tmp_path, "1", "train"), second).fingerprint()
    changed = replace(first, labels={**first.labels, "phase": np.array([0, 1, 1])})
    assert whole != dataset(tmp_path, changed, second).fingerprint()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"side": "test"}, r"has no video on the train side"),
        ({"case_id": "2"}, r"case '2' is on the sides train and test of split 'official'"),
        ({"labels": {"phase": np.zeros(3)}}, r"1\.mp4' has no labels of tool"),
        ({"labels": {"phase": np.zeros(2), "tool": np.zeros((3, 3))}}, r"has shape \(2,\), not \(3,\)"),
        ({"labels": {"phase": np.full(3, 2), "tool": np.zeros((3, 3))}}, r"phase of video .* holds 2, up to 1"),
        ({"labels": {"phase": np.zeros(3), "tool": np.full((3, 3), 2)}}, r"tool of video .* holds 2, up to 1"),
        ({"frames": np.array([0, 25, 25])}, r"are not in ascending order"),
    ],
)
def test_what_does_not_fit_names_the_video(change: dict[str, object], message: str, tmp_path: Path) -> None:
    changed = replace(video(tmp_path, "1", "train"), **change)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=message):
        dataset(tmp_path, changed, video(tmp_path, "2", "test"))


def test_frames_at_a_rate_follow_the_clock() -> None:
    native = np.arange(30)
    assert native[at_rate(native, 30, 4)].tolist() == [0, 8, 15, 23]  # from 0, 7.5, 15 and 22.5 on
    assert at_rate(native, 30, 30).tolist() == at_rate(native, 30, 60).tolist() == list(range(30))
    assert at_rate(np.array([0, 25, 50, 75]), 25, 1).tolist() == [0, 1, 2, 3]
    assert at_rate(np.array([10, 20]), 10, 1).tolist() == [0, 1]
    assert at_rate(np.arange(23, 249, 45), 45, 1).tolist() == list(range(6))  # labels between the ticks
    assert at_rate(np.array([], np.int64), 10, 1).tolist() == []


def test_shipped_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {"default": "one", "splits": {"one": {"source": "s", "train": ["1"], "val": ["2"], "test": ["3"]}}}
    (tmp_path / "d.json").write_text(json.dumps(content))
    monkeypatch.setattr(workflow, "SPLITS", tmp_path)
    split = load_split("d")
    assert (split.name, split.side_of("2"), split.side_of("9")) == ("one", "val", None)
    assert split.cases == (("1", "train"), ("2", "val"), ("3", "test"))
    with pytest.raises(UserError, match=r"unknown split of d 'two'.*one"):
        load_split("d", "two")


def test_rows_and_what_is_wrong_with_them(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("\ufeffFrame\tPhase \n0\tPreparation\n\n25\tClipping\n", encoding="utf-8")
    assert read_rows("d", file, ["Frame", "Phase"]) == [
        {"Frame": "0", "Phase": "Preparation"},
        {"Frame": "25", "Phase": "Clipping"},
    ]
    with pytest.raises(UserError, match=r"a\.txt' has no column 'Step'; its columns are Frame, Phase"):
        read_rows("d", file, ["Step"])
    file.write_text("Frame\tPhase\n0\n")
    with pytest.raises(UserError, match=r"line 2 of .*a\.txt' has 1 cells, the header 2"):
        read_rows("d", file, ["Frame"])
    with pytest.raises(UserError, match=r"b\.txt' is missing; the dataset is incomplete or has another layout"):
        read_rows("d", tmp_path / "b.txt", [])
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"cannot be read as text"):
        read_rows("d", file, [])

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from evaluation.datasets import cholect50
from evaluation.datasets.workflow import WORKFLOW_DATASETS, WorkflowDataset, load_split
from modeling_zen.cholect50 import CHOLECT50
from tests.evaluation.datasets.layouts import edit_line, split, write_images, write_table
from training.errors import UserError

REALDATA = os.environ.get("ZEN_REALDATA", "")

NOTHING = [-1.0] * 15
RETRACT = [17, 0, 1, -1, -1, -1, -1, 1, 0, -1, -1, -1, -1, -1, 1]  # grasper, retract, gallbladder in phase 1
DISSECT = [60, 2, 1, -1, -1, -1, -1, 2, 0, -1, -1, -1, -1, -1, 1]  # hook, dissect, gallbladder
IDLE_PHASE = [*NOTHING[:14], 4]  # nothing is done in phase 4
ANNOTATIONS = {"0": [IDLE_PHASE], "1": [RETRACT, DISSECT], "2": [], "10": [RETRACT], "11": [NOTHING]}


def write_labels(path: Path, annotations: Mapping[str, object], **others: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"video": 1, "fps": 1, "annotations": annotations, **others}))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    home = tmp_path / "CholecT50"
    for case in ("VID01", "VID111"):
        write_labels(home / "labels" / f"{case}.json", ANNOTATIONS)
        write_images(home / "videos" / case, [f"{frame:06d}.png" for frame in (0, 1, 2, 3, 10, 11)])
    return home


def write_texts(root: Path, case: str, frames: Sequence[int]) -> None:
    """The layout of CholecT45; every frame shows the last class of each component."""
    for track in cholect50.COMPONENTS:
        flags = [0] * (len(track.classes) - 1) + [1]
        write_table(root / track.name / f"{case}.txt", [], [[frame, *flags] for frame in frames], ",")
    write_images(root / "data" / case, [f"{frame:06d}.png" for frame in frames])


@pytest.fixture
def text_root(tmp_path: Path) -> Path:
    for case in ("VID01", "VID02"):
        write_texts(tmp_path, case, range(3))
    return tmp_path


def scan(root: Path, fps: float = 1) -> WorkflowDataset:
    return cholect50.scan(root, split(["VID01"], ["VID111"]), fps)


def scan_texts(root: Path) -> WorkflowDataset:
    return cholect50.scan(root, split(["VID01"], ["VID02"]), 1)


def test_classes_of_all_annotations_of_a_frame(root: Path) -> None:
    dataset = scan(root)
    assert [(video.case_id, video.side) for video in dataset.videos] == [("VID01", "train"), ("VID111", "test")]
    video = dataset.videos[0]
    assert (video.fps, video.frames.tolist()) == (1, [0, 1, 2, 10, 11])  # by number, not as text
    assert [file.name for file in video.files][-2:] == ["000010.png", "000011.png"]
    shown = {name: [np.flatnonzero(row).tolist() for row in video.labels[name]] for name in ("triplet", "instrument")}
    assert shown == {"triplet": [[], [17, 60], [], [17], []], "instrument": [[], [0, 2], [], [0], []]}
    assert np.flatnonzero(video.labels["verb"][1]).tolist() == [1, 2]
    assert np.flatnonzero(video.labels["target"][1]).tolist() == [0]
    names = {track.name: track.classes for track in dataset.tracks}
    assert (names["triplet"][17], names["triplet"][60]) == ("grasper,retract,gallbladder", "hook,dissect,gallbladder")
    assert [len(classes) for classes in names.values()] == [100, 6, 10, 15, 7]


def test_a_frame_without_phase_is_unlabeled(root: Path) -> None:
    assert scan(root).videos[0].labels["phase"].tolist() == [4, 1, -1, 1, -1]


def test_an_instrument_can_stand_without_a_triplet(root: Path) -> None:
    write_labels(root / "labels" / "VID01.json", {"0": [[-1, 3, *NOTHING[2:]]]})
    labels = scan(root).videos[0].labels
    assert labels["triplet"].sum() == 0
    assert labels["instrument"].tolist() == [[0, 0, 0, 1, 0, 0]]


def test_a_lower_rate(root: Path) -> None:
    assert scan(root, fps=0.5).videos[0].frames.tolist() == [0, 2, 10]


def test_the_last_frame_may_lack_its_image(root: Path) -> None:
    (root / "videos" / "VID01" / "000011.png").unlink()
    assert scan(root).videos[0].frames.tolist() == [0, 1, 2, 10]
    (root / "videos" / "VID01" / "000010.png").unlink()
    with pytest.raises(UserError, match=r"frame 10, labeled in '.*VID01.json', has no image in '.*VID01'"):
        scan(root)


def test_the_text_files_of_cholect45(text_root: Path) -> None:
    video = scan_texts(text_root).videos[0]
    assert (video.fps, video.frames.tolist(), video.video.parent.name) == (1, [0, 1, 2], "data")
    shown = {name: np.unique(np.nonzero(video.labels[name])[1]).tolist() for name in ("triplet", "verb", "target")}
    assert shown == {"triplet": [99], "verb": [9], "target": [14]}
    assert video.labels["phase"].tolist() == [-1] * 3


def test_found_and_registered(root: Path) -> None:
    assert cholect50.find(root.parent) == cholect50.find(root) == root
    assert cholect50.find(root / "videos") is None
    assert WORKFLOW_DATASETS.get("cholect50").scan is cholect50.scan


def test_the_older_release_is_found(text_root: Path) -> None:
    assert cholect50.find(text_root) == text_root


def test_shipped_splits() -> None:
    sizes = {
        name: tuple(len(getattr(load_split("cholect50", name), side)) for side in ("train", "val", "test"))
        for name in ("cholect50", "challenge", "cholect50_crossval_3", "cholect45_crossval_3")
    }
    assert sizes == {
        "cholect50": (35, 5, 10),
        "challenge": (40, 5, 5),
        "cholect50_crossval_3": (35, 5, 10),
        "cholect45_crossval_3": (31, 5, 9),
    }
    assert load_split("cholect50").name == "cholect50"
    assert load_split("cholect50", "challenge").test == ("VID92", "VID96", "VID103", "VID110", "VID111")


@pytest.mark.parametrize(("name", "videos"), [("cholect50_crossval", 50), ("cholect45_crossval", 45)])
def test_every_video_is_tested_in_one_fold(name: str, videos: int) -> None:
    folds = [load_split("cholect50", f"{name}_{fold}") for fold in range(1, 6)]
    assert len({case for fold in folds for case in fold.test}) == sum(len(fold.test) for fold in folds) == videos
    assert all(len({case for case, _ in fold.cases}) == videos for fold in folds)


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ({"0": [[100, *NOTHING[1:]]]}, "frame 0 of '.*VID01.json' has the triplet 100; known are 0 to 99, and -1"),
        ({"5": [[*NOTHING[:7], 2.5, *NOTHING[8:]]]}, "frame 5 of '.*VID01.json' has the verb 2.5; known are 0 to 9"),
        ({"0": [[17, 0]]}, "frame 0 of '.*VID01.json' has an annotation that is not a list of 15 values"),
        ({"0": [IDLE_PHASE, RETRACT]}, "frame 0 of '.*VID01.json' is of the phases 4 and 1"),
        ({"first": []}, "has the frame 'first', not a whole number"),
        ({}, "VID01.json' has no object 'annotations'"),
    ],
)
def test_annotations_that_are_not_understood(annotations: dict[str, object], message: str, root: Path) -> None:
    write_labels(root / "labels" / "VID01.json", annotations)
    with pytest.raises(UserError, match=message):
        scan(root)


def test_a_file_of_other_ids(root: Path) -> None:
    names = {"verb": {"0": "grasp", "4": "cut"}, "phase": {"0": "another spelling"}}
    write_labels(root / "labels" / "VID01.json", ANNOTATIONS, categories=names)
    with pytest.raises(UserError, match=r"VID01.json' has 'cut' as verb 4, which is 5 in the published list"):
        scan(root)
    write_labels(root / "labels" / "VID01.json", ANNOTATIONS, fps=0)
    with pytest.raises(UserError, match=r"VID01.json' has fps 0, not a number"):
        scan(root)


@pytest.mark.parametrize(
    ("file", "line", "text", "message"),
    [
        ("verb/VID01.txt", 2, "1" + ",0" * 9 + ",2", "line 2 of '.*verb/VID01.txt' is not a frame and 10 values"),
        ("verb/VID01.txt", 2, "1" + ",0" * 9, "line 2 of '.*verb/VID01.txt' is not a frame and 10 values"),
        ("triplet/VID01.txt", 3, "1" + ",0" * 100, "line 3 of '.*triplet/VID01.txt' is of frame 1, after frame 1"),
        ("target/VID02.txt", 3, None, "'.*target/VID02.txt' has 2 lines, '.*triplet/VID02.txt' 3"),
    ],
)
def test_broken_lines(file: str, line: int, text: str | None, message: str, text_root: Path) -> None:
    edit_line(text_root / file, line, text)
    with pytest.raises(UserError, match=message):
        scan_texts(text_root)


def test_missing_files(root: Path) -> None:
    (root / "labels" / "VID111.json").unlink()
    with pytest.raises(UserError, match=r"case 'VID111' of the split has no label file such as '.*labels/VID111.json'"):
        scan(root)


def test_missing_images(root: Path) -> None:
    (root / "videos" / "VID111").rename(root / "videos" / "VID112")
    with pytest.raises(UserError, match=r"'.*videos/VID111' is missing"):
        scan(root)


def test_missing_text_file(text_root: Path) -> None:
    (text_root / "verb" / "VID02.txt").unlink()
    with pytest.raises(UserError, match=r"case 'VID02' of the split has no label file such as '.*verb/VID02.txt'"):
        scan_texts(text_root)
    (text_root / "verb" / "VID02.txt").write_text("")
    with pytest.raises(UserError, match=r"verb/VID02.txt' has no lines"):
        scan_texts(text_root)


def test_two_of_one_case(root: Path) -> None:
    write_images(root / "videos" / "VID01", ["000001.jpg"])
    with pytest.raises(UserError, match=r"000001.jpg' and '.*000001.png' have the same frame number"):
        scan(root)
    write_images(root / "data" / "VID01", ["000001.jpg"])
    with pytest.raises(UserError, match=r"videos/VID01' and '.*data/VID01' are both of case 'VID01'"):
        scan(root)


def test_labels_in_both_forms(root: Path) -> None:
    write_table(root / "triplet" / "VID01.txt", [], [[0] * 101], ",")
    with pytest.raises(UserError, match=r"labels/VID01.json' and '.*triplet/VID01.txt' are both of case 'VID01'"):
        scan(root)


def test_an_image_without_number(root: Path) -> None:
    write_images(root / "videos" / "VID01", ["cover.png"])
    with pytest.raises(UserError, match=r"cover.png' has no frame number at the end of its name"):
        scan(root)


@pytest.mark.realdata
@pytest.mark.skipif(not REALDATA, reason="CholecT50 annotations: ZEN_REALDATA is not set")
def test_genuine_text_files(tmp_path: Path) -> None:
    for case in ("VID73", "VID74"):  # the same labels twice, as a dataset has two sides
        for track in cholect50.COMPONENTS:
            (tmp_path / track.name).mkdir(exist_ok=True)
            genuine = Path(REALDATA) / "annotations" / "cholect50-txt" / track.name / "VID73.txt"
            (tmp_path / track.name / f"{case}.txt").symlink_to(genuine)
        (tmp_path / "data" / case).mkdir(parents=True)
        for frame in range(1357):
            (tmp_path / "data" / case / f"{frame:06d}.png").touch()
    video = cholect50.scan(tmp_path, split(["VID73"], ["VID74"]), 1).videos[0]
    assert video.frames.tolist() == list(range(1357))
    counts = {name: video.labels[name].sum(axis=0).tolist() for name in ("instrument", "verb", "target", "triplet")}
    assert counts["instrument"] == [974, 101, 767, 23, 47, 93]  # column sums by awk
    assert counts["verb"] == [86, 926, 730, 58, 47, 16, 12, 0, 0, 147]
    assert counts["target"] == [924, 53, 223, 88, 38, 11, 12, 6, 134, 0, 2, 0, 0, 82, 147]
    assert {triplet: counts["triplet"][triplet] for triplet in (17, 60, 82, 99)} == {17: 768, 60: 434, 82: 12, 99: 16}
    # Components agree with what the triplets are made of.
    for component, name in enumerate(("instrument", "verb", "target")):
        made_of = np.array(CHOLECT50["triplets"])[:, component]
        derived = np.zeros_like(video.labels[name])
        np.maximum.at(derived.T, made_of, video.labels["triplet"].T)
        np.testing.assert_array_equal(derived, video.labels[name])

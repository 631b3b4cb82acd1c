import json
from pathlib import Path

import pytest

from evaluation.datasets import lemon
from evaluation.datasets.hash_folds import fold_of
from evaluation.datasets.recordings import Recording
from evaluation.datasets.samples import SAMPLE_DATASETS
from tests.evaluation.datasets.layouts import split, write_mp4
from training.errors import UserError

# Three of each group, by SHA-256 of "lemon/ID".
IDS = [f"-{number:04d}abc_d-" for number in range(40)]
IDS = [case for fold in (1, 2, 3) for case in [own for own in IDS if fold_of("lemon", own) == fold][:3]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "LEMON"
    for number, case in enumerate(IDS):
        write_mp4(root / "videos" / (f"{case}.mp4" if number else f"A title - part 2-{case}.mp4"), 32)
    write_labels(root, [{"youtubeId": case, "procedureName": ["colectomy"]} for case in [*IDS, "gone_______"]])
    return root


def write_labels(root: Path, entries: object) -> None:
    (root / "labels.json").write_text(json.dumps(entries))


def test_frames_spread_evenly_over_each_video_that_is_there(root: Path) -> None:
    dataset = lemon.scan(root)
    assert sorted(s.case_id for s in dataset.samples) == sorted(IDS)
    sample = next(s for s in dataset.samples if s.case_id == IDS[0])
    assert sample.frames[0].path.name == f"A title - part 2-{IDS[0]}.mp4"
    assert [f.frame_index for f in sample.frames] == list(range(1, 32, 2))  # the middles of 16 parts of 2 frames
    assert sum(sample.label) == sample.label[lemon.PROCEDURES.index("colectomy")] == 1
    assert (dataset.target.kind, len(lemon.PROCEDURES)) == ("multi", 35)


def test_several_procedures(root: Path) -> None:
    names = ["splenectomy", "pancreatectomy"]
    write_labels(root, [{"youtubeId": case, "procedureName": names} for case in IDS])
    label = lemon.scan(root).samples[0].label
    assert {name for name, there in zip(lemon.PROCEDURES, label, strict=True) if there} == set(names)


def test_black_frames_of_curated_videos_are_not_taken(root: Path) -> None:
    kinds = {f"{IDS[1]}-{n}": {"class": "non-surgical" if 4 <= n < 16 else "surgical"} for n in range(32)}
    (root / "videos" / f"{IDS[1]}.json").write_text(json.dumps(kinds))
    sample = next(s for s in lemon.scan(root).samples if s.case_id == IDS[1])
    # 20 surgical frames, so that the middles of 16 parts are their numbers 0.625, 1.875, 3.125, 4.375, 5.625 ...
    expected = [0, 1, 3, 16, 17, 18, 20, 21, 22, 23, 25, 26, 27, 28, 30, 31]
    assert [f.frame_index for f in sample.frames] == expected


def test_the_default_is_our_first_fold_by_video(root: Path) -> None:
    dataset = lemon.scan(root)
    sides = {1: "test", 2: "val", 3: "train"}
    assert all(s.side == sides[fold_of("lemon", s.case_id)] for s in dataset.samples)
    assert (dataset.split, lemon.fold_split(root, 2).name) == ("fold_1", "fold_2")


def test_found_and_registered(root: Path) -> None:
    assert lemon.find(root.parent) == lemon.find(root) == root
    assert lemon.find(root / "videos") is None
    write_labels(root, [{"id": 1}])
    assert lemon.find(root) is None
    assert SAMPLE_DATASETS.get("lemon").scan is lemon.scan


ENTRY = {"youtubeId": "80czDESoMiQ", "procedureName": ["colectomy"]}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"a": 1}, "holds a dict where a list of videos is expected"),
        ([ENTRY, {"youtubeId": "x"}], "entry 2 of .* lacks a 'youtubeId' and a list 'procedureName'"),
        ([{**ENTRY, "procedureName": []}], "entry 1 of .* lacks"),
        ([{**ENTRY, "procedureName": "colectomy"}], "entry 1 of .* lacks"),
        (["80czDESoMiQ"], "entry 1 of .* lacks"),
        ([{**ENTRY, "procedureName": ["colektomy"]}], "entry 1 of .* has the procedure 'colektomy'; known are abdomin"),
        ([ENTRY, ENTRY], "entry 2 of .* is the second one of video '80czDESoMiQ'"),
    ],
)
def test_broken_labels(entries: object, message: str, root: Path) -> None:
    write_labels(root, entries)
    with pytest.raises(UserError, match=message):
        lemon.scan(root)


def test_labels_that_are_no_json(root: Path) -> None:
    (root / "labels.json").write_text("[{")
    with pytest.raises(UserError, match=r"labels.json' cannot be read as JSON"):
        lemon.scan(root)


def test_videos_that_do_not_fit(root: Path) -> None:
    with pytest.raises(UserError, match=r"case 'gone_______' of the split has no video below '.*LEMON'"):
        lemon.scan(root, split(["gone_______"], [IDS[0]]))
    stray = write_mp4(root / "videos" / "holiday.mp4", 2)
    with pytest.raises(UserError, match=r"video '.*holiday.mp4' does not end in an id of '.*labels.json'"):
        lemon.scan(root)
    stray.rename(root / f"{IDS[1]}.mkv")
    with pytest.raises(UserError, match=rf"\.mkv' and '.*\.mp4' are both of video '{IDS[1]}'"):
        lemon.scan(root)
    (root / f"{IDS[1]}.mkv").unlink()
    write_mp4(root / "videos" / f"{IDS[1]}.mp4", 15)
    with pytest.raises(UserError, match=rf"{IDS[1]}.mp4' has 15 frames to take from; at least 16 are expected"):
        lemon.scan(root)
    for video in (root / "videos").iterdir():
        video.unlink()
    with pytest.raises(UserError, match=r"no video lies below '.*LEMON'; names end in the ids of labels.json"):
        lemon.scan(root)


@pytest.mark.parametrize(
    "entry", [{"x-32": {"class": "surgical"}}, {"x-1": {"class": "?"}}, {"x": {"class": "surgical"}}]
)
def test_notes_that_do_not_fit(entry: dict, root: Path) -> None:
    (root / "videos" / f"{IDS[1]}.json").write_text(json.dumps(entry))
    with pytest.raises(
        UserError, match=r"entry 'x.*' of '.*json' is not ID-FRAME with the class surgical or .* below 32"
    ):
        lemon.scan(root)


def test_a_video_without_a_number_of_frames(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lemon, "open_video", lambda noun, path, fps: Recording(path, 25.0, None))
    with pytest.raises(UserError, match=r"mp4' states no number of frames; convert it to mp4"):
        lemon.scan(root)

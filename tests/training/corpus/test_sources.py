"""What is found below the inputs: kinds, ids, groups, refusals."""

import os
from pathlib import Path

import pytest

from training.corpus.settings import CurationSettings
from training.corpus.sources import check_places, group, scan
from training.errors import UserError


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def look(*inputs: Path, out: Path | None = None):
    out = out or inputs[0].parent / "out"
    return scan(check_places(inputs, out), out)


def units(*inputs: Path, **settings):
    found = look(*inputs)
    return group(found.videos, found.stills, CurationSettings(**settings))


def reasons(found) -> dict[str, str]:
    return {file.path: drop.reason for file, drop in found.rejected}


def test_kinds_and_reasons(tmp_path):
    root = tmp_path / "data"
    touch(root, "a.mp4", "b.MKV", "deep/er/c_1.jpg", "notes.md", "table.csv", "noext", "d/masks/c_1.png")
    touch(root, "Ground-Truth/x.png", "frame_80_endo_mask.png", "depth/deeper/z.mp4", ".hidden.mp4", ".git/y.mp4")
    found = look(root)
    assert [file.path for file in found.videos] == ["a.mp4", "b.MKV"]
    assert [file.path for file in found.stills] == ["deep/er/c_1.jpg"]
    assert reasons(found) == {
        "Ground-Truth/x.png": "label_folder",
        "d/masks/c_1.png": "label_folder",
        "depth/deeper/z.mp4": "label_folder",
        "frame_80_endo_mask.png": "label_file",
        "noext": "not_media",
        "notes.md": "not_media",
        "table.csv": "not_media",
    }


def test_ids_are_unique_safe_and_stable(tmp_path):
    root = tmp_path / "data"
    names = ["a/x.mp4", "b/x.mp4", "b/x.mkv", "a_/_x.mp4", "a/_x.mp4", "a__/x.mp4", "ä b/x.mp4", "a b/x.mp4"]
    names += ["n" * 200 + ".mp4", "b/x/0001.jpg", "b/x_1.jpg"[:-6] + "y_1.jpg"]
    touch(root, *names)
    first = {unit.files[0].path: unit.video_id for unit in units(root)}
    assert len(first) == len(names)
    assert len(set(first.values())) == len(names)
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_.-") for name in first.values())
    assert max(map(len, first.values())) < 160
    assert first["a/x.mp4"] == "data__a__x.mp4"
    assert first["b/x/0001.jpg"] == "data__b__x"
    touch(root, "a/w.mp4", "b/x_2.mp4")
    assert {path: first[path] for path in first}.items() <= {u.files[0].path: u.video_id for u in units(root)}.items()


def test_case_is_the_video_without_extension_or_what_the_pattern_finds(tmp_path):
    root = tmp_path / "data"
    touch(root, "p07_a.mp4", "p07_b.mp4", "p07_a/0001.jpg", "other.mp4")
    default = {unit.video_id: unit.case_id for unit in units(root)}
    assert default["data__p07_a.mp4"] == default["data__p07_a"] == "data__p07_a"
    found = {unit.files[0].path: unit.case_id for unit in units(root, case_pattern=r"(?P<case>p\d\d)")}
    assert found == {
        "p07_a.mp4": "p07",
        "p07_b.mp4": "p07",
        "p07_a/0001.jpg": "p07",
        "other.mp4": "data__other",
    }


def test_stills_are_grouped_by_name_or_folder_and_ordered_by_number(tmp_path):
    root = tmp_path / "data"
    touch(root, "im/100_9.jpg", "im/100_27.jpg", "im/100_100.jpg", "im/2_5.jpg", "seq/0010.png", "seq/0009.png")
    touch(root, "loose/1.jpg", "loose/10.jpg", "loose/2.jpg", "named/liver.jpg")
    found = {unit.video_id: unit for unit in units(root)}
    assert {name: [f.path.split("/")[-1] for f in unit.files] for name, unit in found.items()} == {
        "data__im__100": ["100_9.jpg", "100_27.jpg", "100_100.jpg"],
        "data__im__2": ["2_5.jpg"],
        "data__seq": ["0009.png", "0010.png"],
        "data__loose": ["1.jpg", "2.jpg", "10.jpg"],
        "data__named": ["liver.jpg"],
    }
    assert {name for name, unit in found.items() if unit.sequence} == {"data__im__100", "data__im__2", "data__seq"}


def test_still_pattern_is_configurable_and_long_numbers_are_no_frame_numbers(tmp_path):
    root = tmp_path / "data"
    touch(root, "v1-f7-x.jpg", "v1-f12-x.jpg", "1.2.840.99999999999999999999.jpg")
    found = {unit.video_id: unit for unit in units(root, still_pattern=r"^(?P<video>v\d)-f(?P<frame>\d+)-x$")}
    assert [file.number for file in found["data__v1"].files] == [7, 12]
    assert [file.number for file in found["data"].files] == [None]


def test_groups_that_would_share_an_id_are_refused(tmp_path):
    root = tmp_path / "data"
    touch(root, "v/0001.jpg", "v_0001.jpg")
    with pytest.raises(UserError, match="would both become video 'data__v': rename the folder, or set still_pattern"):
        units(root)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("val/a.mp4", "held_out"),
        ("Test/x/a.mp4", "held_out"),
        ("x/held-out/a.mp4", "held_out"),
        ("train/a.mp4", "train"),
        ("train/test/a.mp4", "held_out"),
        ("testing_room/a.mp4", ""),
        ("a.mp4", ""),
    ],
)
def test_folder_words(tmp_path, name, split):
    root = tmp_path / "data"
    touch(root, name)
    assert units(root)[0].folder_split == split


def test_the_name_of_the_input_counts_for_the_split_but_its_parents_do_not(tmp_path):
    touch(tmp_path / "test" / "data", "a.mp4")
    touch(tmp_path / "test" / "val", "a.mp4")
    assert [unit.folder_split for unit in units(tmp_path / "test" / "data", tmp_path / "test" / "val")] == [
        "",
        "held_out",
    ]


def test_a_single_file_is_an_input(tmp_path):
    touch(tmp_path / "data", "a.mp4", "b.mp4")
    (unit,) = units(tmp_path / "data" / "a.mp4")
    assert (unit.video_id, unit.files[0].path) == ("data__a.mp4", "a.mp4")


def test_links(tmp_path):
    root, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    touch(root, "sub/a.mp4")
    touch(elsewhere, "b.mp4")
    (root / "sub" / "up").symlink_to(root)
    (root / "again").symlink_to(root / "sub")
    (root / "far").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(root)
    (root / "broken.mp4").symlink_to(tmp_path / "nothing.mp4")
    (root / "itself.jpg").symlink_to(root / "itself.jpg")
    found = look(root)
    assert [file.path for file in found.videos] == ["far/b.mp4", "sub/a.mp4"]
    assert reasons(found) == {
        "again": "linked_folder",
        "broken.mp4": "unreadable",
        "far/back": "linked_folder",
        "itself.jpg": "unreadable",
        "sub/up": "linked_folder",
    }


def test_names_that_are_not_unicode_and_pipes(tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    (root / os.fsdecode(b"bad\xff.mp4")).write_bytes(b"x")
    os.mkfifo(root / "pipe.mp4")
    found = look(root)
    assert [file.path for file in found.videos] == ["bad\\xff.mp4"]
    assert reasons(found) == {"pipe.mp4": "not_media"}


def test_an_unreadable_folder_gets_a_row(tmp_path, monkeypatch):
    root = tmp_path / "data"
    touch(root, "a.mp4", "closed/b.mp4")
    real = Path.iterdir

    def iterdir(self):
        if self.name == "closed":
            raise PermissionError(13, "Permission denied")
        return real(self)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    found = look(root)
    assert [(drop.path, drop.reason, drop.detail) for _, drop in found.rejected] == [
        ("closed", "unreadable", "Permission denied")
    ]


def test_the_output_folder_is_passed_over(tmp_path):
    root = tmp_path / "data"
    touch(root, "a.mp4", "corpus/shards/b.mp4")
    assert [file.path for file in look(root, out=root / "corpus").files()] == ["a.mp4"]


def test_places_that_are_refused(tmp_path):
    root = tmp_path / "data"
    touch(root, "sub/a.mp4")
    with pytest.raises(UserError, match="gone' does not exist: give a folder or file"):
        check_places([tmp_path / "gone"], tmp_path / "out")
    with pytest.raises(UserError, match="lies inside the output folder"):
        check_places([root / "sub"], root)
    with pytest.raises(UserError, match="lies inside the output folder"):
        check_places([root], root)
    with pytest.raises(UserError, match="overlap: give each file once"):
        check_places([root, root / "sub"], tmp_path / "out")


def test_equal_names_below_inputs_of_equal_name_are_refused(tmp_path):
    touch(tmp_path / "a" / "data", "x.mp4", "y.mp4")
    touch(tmp_path / "b" / "data", "x.mp4")
    with pytest.raises(UserError, match="same name below inputs of the same name"):
        look(tmp_path / "a" / "data", tmp_path / "b" / "data")
    (tmp_path / "b" / "data" / "x.mp4").rename(tmp_path / "b" / "data" / "z.mp4")
    assert len(look(tmp_path / "a" / "data", tmp_path / "b" / "data").videos) == 3

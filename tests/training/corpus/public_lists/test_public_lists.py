"""Public lists, in the exact form in which they are published, matched to the user's files."""

import json
import sys
from pathlib import Path

import pytest

from training.corpus.curation import curate
from training.corpus.manifest import read_clips
from training.corpus.public_lists import __main__ as entry
from training.corpus.public_lists.listed import youtube_id
from training.corpus.public_lists.lists import LISTS
from training.errors import UserError

LEMON = [
    {
        "informative": True,
        "md5": "bfcb3fb859a36ac69c2b98ebd00b8aef",
        "procedureName": ["splenectomy", "pancreatectomy"],
        "robotic": False,
        "title": "Laparoscopic Distal  Pancreaticosplenectomy for Mucinous Neoplasm Pancreas",
        "youtubeId": "80czDESoMiQ",
        "resolution": [1280, 720],
    },
    {
        "informative": True,
        "md5": "5c2ae8ca5374acaba322bd849a31b384",
        "procedureName": ["pancreatectomy"],
        "robotic": True,
        "title": "Robotic Distal Pancreatectomy",
        "youtubeId": "8L78T-jbwXk",
        "resolution": [880, 720],
    },
    {
        "informative": False,
        "md5": "5c2ae8ca5374acaba322bd849a31b385",
        "procedureName": [],
        "robotic": False,
        "title": "Talk",
        "youtubeId": "SOam94xJXF0",
        "resolution": [1280, 720],
    },
]


def call(monkeypatch, *words: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["public_lists", *map(str, words)])
    entry.main()


def test_lemon_from_list_to_corpus(tmp_path, moving, write_video, settings, monkeypatch, capsys):
    write_video(tmp_path / "videos" / "pancreas" / "Robotic [8L78T-jbwXk].mp4", moving(2))
    write_video(tmp_path / "videos" / "other.mp4", moving(2))
    (tmp_path / "labels.json").write_text(json.dumps(LEMON, indent=4))
    call(monkeypatch, "lemon", tmp_path / "labels.json", tmp_path / "videos")
    text = capsys.readouterr().out
    assert "1 files matched, 1 entries of the list without a file (80czDESoMiQ)" in text
    assert "1 files that the list does not name, or names again, left out (other.mp4)" in text
    curate([tmp_path / "videos" / "lemon.jsonl"], tmp_path / "out", settings())
    (clip,) = read_clips(tmp_path / "out" / "manifest.parquet")
    assert (clip.video_id, clip.case_id, clip.source) == ("8L78T-jbwXk", "8L78T-jbwXk", "LEMON")
    assert (clip.procedures, clip.robotic, clip.licence) == (("pancreatectomy",), True, "unknown")


@pytest.mark.parametrize(
    "name",
    [
        "80czDESoMiQ.mp4",
        "a/80czDESoMiQ.webm",
        "Some Title [80czDESoMiQ].mkv",
        "Title-80czDESoMiQ.mp4",
        "80czDESoMiQ.Some. Title.mp4",
    ],
)
def test_names_that_downloaders_give(tmp_path, name):
    (tmp_path / "labels.json").write_text(json.dumps(LEMON))
    match = LISTS.get("lemon")(tmp_path / "labels.json", [name])
    assert [(row["path"], row["video_id"]) for row in match.rows] == [(name, "80czDESoMiQ")]


def test_second_file_of_a_video_is_left_out(tmp_path):
    (tmp_path / "labels.json").write_text(json.dumps(LEMON))
    match = LISTS.get("lemon")(tmp_path / "labels.json", ["b/80czDESoMiQ.mp4", "a/80czDESoMiQ.mp4", "x.json"])
    assert [row["path"] for row in match.rows] == ["a/80czDESoMiQ.mp4"]
    assert match.unlisted == ["b/80czDESoMiQ.mp4"]


def test_gensurgery(tmp_path):
    folder = tmp_path / "videos_to_download"
    folder.mkdir()
    (folder / "IBS.txt").write_text("https://youtu.be/0hNB8vLQiA4\nhttps://youtu.be/fWDV9DFbfq8\n")
    (folder / "robotic_chole.txt").write_text("https://youtu.be/FyITRX3i1-o\n\n")
    (folder / "colectomy.txt").write_text(
        "https://youtu.be/FyITRX3i1-o\nhttps://www.youtube.com/watch?v=_OCp8V_G8SM&t=1"
    )
    files = ["0hNB8vLQiA4.A title.mp4", "FyITRX3i1-o.B.mkv", "_OCp8V_G8SM.webm"]
    match = LISTS.get("gensurgery")(folder, files)
    assert {row["video_id"]: (row["procedures"], row.get("robotic")) for row in match.rows} == {
        "0hNB8vLQiA4": ([], None),
        "FyITRX3i1-o": (["cholecystectomy", "colectomy"], True),
        "_OCp8V_G8SM": (["colectomy"], None),
    }
    assert match.missing == ["fWDV9DFbfq8"]


def test_surgenet(tmp_path, scene, write_still, settings, monkeypatch, capsys):
    root = tmp_path / "SurgeNetXL"
    for number in range(3):
        write_still(root / "colectomy" / "Batch0" / f"0hNB8vLQiA4_frame_{number}_Sample{number + 7}.jpg", scene(number))
    names = ["0hNB8vLQiA4_frame_0_Sample7.jpg", "0hNB8vLQiA4_frame_2_Sample9.jpg", "x?_frame_5_Sample1.jpg"]
    (tmp_path / "frames_list.txt").write_text("\n".join(names) + "\n")
    call(monkeypatch, "surgenet", tmp_path / "frames_list.txt", root, "--output", tmp_path / "s.jsonl")
    text = capsys.readouterr().out
    assert "2 files matched, 1 entries of the list without a file (x?_frame_5_Sample1.jpg)" in text
    assert f"root={root}" in text
    curate([tmp_path / "s.jsonl"], tmp_path / "out", settings(root=str(root)))
    (clip,) = read_clips(tmp_path / "out" / "manifest.parquet")
    assert (clip.video_id, clip.t_start, clip.t_end, clip.procedures) == ("0hNB8vLQiA4", 0.0, 2.0, ("colectomy",))


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("https://youtu.be/0hNB8vLQiA4?si=x", "0hNB8vLQiA4"),
        ("https://www.youtube.com/watch?app=desktop&v=0hNB8vLQiA4", "0hNB8vLQiA4"),
        ("https://www.youtube.com/embed/0hNB8vLQiA4", "0hNB8vLQiA4"),
        ("https://youtu.be/0hNB8vLQiA4x", None),
        ("https://vimeo.com/1", None),
    ],
)
def test_ids_in_links(link, expected):
    assert youtube_id(link) == expected


def test_mistakes_are_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "videos").mkdir()
    (tmp_path / "links").mkdir()
    (tmp_path / "bad.json").write_text("{}")
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "record.json").write_text(json.dumps([{**LEMON[0], "robotic": "no"}]))
    (tmp_path / "frames.txt").write_text("a_frame_1_Sample2.jpg\nother.jpg\n")
    (tmp_path / "good.json").write_text(json.dumps(LEMON))
    for words, message in (
        (("lemmon", "bad.json", "videos"), "unknown public list 'lemmon'. Did you mean 'lemon'"),
        (("lemon", "bad.json", "gone"), "gone' does not exist: give the folder of your files"),
        (("lemon", "bad.json", "videos"), "is not LEMON's labels.json: it must be a list"),
        (("lemon", "broken.json", "videos"), "broken.json' cannot be read"),
        (("lemon", "record.json", "videos"), "record.json record 0: 'robotic' is missing or no bool"),
        (("lemon", "good.json", "videos"), "no file in .* is named in .*good.json': nothing was written"),
        (("gensurgery", "links", "videos"), "is not a folder of <procedure>.txt files"),
        (("surgenet", "frames.txt", "videos"), "frames.txt line 2: 'other.jpg' is not of the form VIDEO_frame_N"),
        (("surgenet", "gone.txt", "videos"), "gone.txt' cannot be read"),
    ):
        with pytest.raises(UserError, match=message):
            call(monkeypatch, words[0], tmp_path / words[1], tmp_path / words[2])
    (tmp_path / "links" / "colectomy.txt").write_text("https://vimeo.com/1\n")
    with pytest.raises(UserError, match=r"colectomy.txt line 1: 'https://vimeo.com/1' is no link to a YouTube video"):
        call(monkeypatch, "gensurgery", tmp_path / "links", tmp_path / "videos")

"""Source manifests: labels per file, parts of videos, and rows that cannot be used."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.corpus.curation import curate
from training.corpus.manifest import read_clips, read_drops
from training.corpus.source_manifest import is_source_manifest, read_source_manifest
from training.errors import UserError


@pytest.fixture
def videos(tmp_path, moving, write_video) -> Path:
    for number in range(3):
        write_video(tmp_path / "data" / f"v{number}.mp4", moving(6, seed=number))
    return tmp_path / "data"


def write_csv(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_labels_belong_to_the_file(videos, tmp_path, settings):
    manifest = write_csv(
        videos / "mine.csv",
        "path,video_id,case_id,procedures,robotic,licence,source",
        "v0.mp4,a,patient1,cholecystectomy;hernia_repair,true,CC0,site1",
        "v1.mp4,b,patient1,,no,,",
        "v2.mp4,,,,,,",
    )
    out = tmp_path / "out"
    curate([manifest], out, settings(licence="own", procedure="sleeve", held_out_fraction=0.0))
    rows = {clip.path: clip for clip in read_clips(out / "manifest.parquet")}
    shown = {
        path: (clip.video_id, clip.case_id, clip.procedures, clip.robotic, clip.licence, clip.source)
        for path, clip in rows.items()
    }
    assert shown == {
        "v0.mp4": ("a", "patient1", ("cholecystectomy", "hernia_repair"), True, "CC0", "site1"),
        "v1.mp4": ("b", "patient1", ("sleeve",), False, "own", "mine"),
        "v2.mp4": ("mine__v2.mp4", "mine__v2", ("sleeve",), None, "own", "mine"),
    }
    assert curate([manifest], out, settings(licence="own", procedure="sleeve", held_out_fraction=0.0)).nothing_new
    manifest.write_text(manifest.read_text().replace("CC0", "CC-BY-4.0"))
    with pytest.raises(UserError, match=r"with other labels .licence='CC0' there, 'CC-BY-4.0' now"):
        curate([manifest], out, settings(licence="own", procedure="sleeve", held_out_fraction=0.0))


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_parts_of_one_video(videos, tmp_path, settings, kind):
    rows = [
        {"path": "v0.mp4", "video_id": "x", "t_start": 0, "t_end": 2.0, "procedure": "first"},
        {"path": "v0.mp4", "video_id": "x", "t_start": 3, "t_end": None, "procedure": "second"},
    ]
    manifest = videos / f"parts.{kind}"
    if kind == "csv":
        write_csv(manifest, "path,video_id,t_start,t_end,procedure", "v0.mp4,x,0,2.0,first", "v0.mp4,x,3,,second")
    elif kind == "jsonl":
        manifest.write_text("\n".join(map(json.dumps, rows)))
    else:
        pq.write_table(pa.Table.from_pylist(rows), manifest)
    curate([manifest], tmp_path / "out", settings())
    clips = read_clips(tmp_path / "out" / "manifest.parquet")
    shown = [(clip.clip_id, clip.path, clip.t_start, clip.t_end, clip.num_frames, clip.procedures) for clip in clips]
    assert shown == [
        ("x-000000", "v0.mp4#t=0,2", 0.0, 1.0, 2, ("first",)),
        ("x-000001", "v0.mp4#t=3,", 3.0, 5.0, 3, ("second",)),
    ]


def test_part_outside_the_video_gets_its_row(videos, tmp_path, settings):
    manifest = write_csv(videos / "m.csv", "path,t_start", "v0.mp4,60", "v1.mp4,")
    curate([manifest], tmp_path / "out", settings())
    (drop,) = read_drops(tmp_path / "out" / "drops.parquet")
    assert (drop.path, drop.reason) == ("v0.mp4#t=60,", "no_frames")
    assert drop.detail == "the wanted part holds no sampled frame: its last sampled frame is at 5.0 s"


def test_stills_with_numbers_and_rate(tmp_path, scene, write_still, settings):
    for number in range(3):
        write_still(tmp_path / "data" / f"still{'abc'[number]}.png", scene(number))
    manifest = write_csv(
        tmp_path / "data" / "s.csv",
        "path,video_id,frame,fps",
        "stillc.png,v,2,1",
        "stilla.png,v,0,1",
        "stillb.png,v,1,1",
    )
    curate([manifest], tmp_path / "out", settings())
    (clip,) = read_clips(tmp_path / "out" / "manifest.parquet")
    assert (clip.video_id, clip.t_start, clip.t_end, clip.num_frames, clip.fps) == ("v", 0.0, 2.0, 3, 1.0)
    assert clip.path == "stilla.png"


def test_rows_that_cannot_be_used_get_their_drop_row(videos, tmp_path, settings, write_video, moving):
    outside = write_video(tmp_path / "outside.mp4", moving(1))
    (videos / "link.mp4").symlink_to(outside)
    (videos / "loop.mp4").symlink_to(videos / "loop.mp4")
    (videos / "inside.mp4").symlink_to(videos / "v1.mp4")
    (videos / "folder").mkdir()
    (videos / "text.txt").write_text("x")
    rows = ["a/../../outside.mp4", str(outside), "link.mp4", "loop.mp4", "gone.mp4", "folder"]
    rows += ["text.txt", "C:\\x.mp4", "inside.mp4"]
    manifest = write_csv(videos / "m.csv", "path", *rows)
    curate([manifest], tmp_path / "out", settings())
    assert {(drop.path, drop.reason) for drop in read_drops(tmp_path / "out" / "drops.parquet")} == {
        ("../outside.mp4", "outside_root"),
        (str(outside), "outside_root"),
        ("link.mp4", "outside_root"),
        ("loop.mp4", "unreadable"),
        ("gone.mp4", "missing_file"),
        ("folder", "not_media"),
        ("text.txt", "not_media"),
        ("C:\\x.mp4", "outside_root"),
    }
    assert [clip.path for clip in read_clips(tmp_path / "out" / "manifest.parquet")] == ["inside.mp4"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission_gets_its_row(videos, tmp_path, settings):
    (videos / "v0.mp4").chmod(0)
    curate([write_csv(videos / "m.csv", "path", "v0.mp4", "v1.mp4")], tmp_path / "out", settings())
    (drop,) = read_drops(tmp_path / "out" / "drops.parquet")
    assert (drop.path, drop.reason) == ("v0.mp4", "unreadable")


def test_missing_file_that_comes_later(videos, tmp_path, settings):
    manifest = write_csv(videos / "m.csv", "path", "v0.mp4", "late.mp4")
    curate([manifest], tmp_path / "out", settings())
    (videos / "v2.mp4").rename(videos / "late.mp4")
    curate([manifest], tmp_path / "out", settings())
    assert read_drops(tmp_path / "out" / "drops.parquet") == []
    assert {clip.path for clip in read_clips(tmp_path / "out" / "manifest.parquet")} == {"v0.mp4", "late.mp4"}


def test_root_elsewhere(videos, tmp_path, settings):
    manifest = write_csv(tmp_path / "m.csv", "path", "v0.mp4")
    assert len(read_source_manifest(manifest, videos, allow_urls=False).videos) == 1
    with pytest.raises(UserError, match="setting root='nowhere' is not a folder"):
        read_source_manifest(manifest, Path("nowhere"), allow_urls=False)


def test_only_files_with_these_extensions_are_manifests(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    assert not is_source_manifest(tmp_path / "folder.csv")
    assert is_source_manifest(tmp_path / "m.CSV")
    assert not is_source_manifest(tmp_path / "m.mp4")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["path,procedur", "v0.mp4,x"],
            r"m.csv: unknown column 'procedur'. Did you mean 'procedure'\? Known: path, url,",
        ),
        (["path,license", "v0.mp4,x"], r"unknown column 'license'. Did you mean 'licence'"),
        (["path,robotic", "v0.mp4,perhaps"], "m.csv row 2, column 'robotic': 'perhaps' is not true or false"),
        (
            ["path,t_start", "v1.mp4,1", "v0.mp4,soon"],
            "m.csv row 3, column 't_start': 'soon' is not a number from 0 up",
        ),
        (["path,t_end", "v0.mp4,-1"], "column 't_end': '-1' is not a number from 0 up"),
        (["path,t_start,t_end", "v0.mp4,5,5"], "m.csv row 2: t_end=5 is not after t_start=5"),
        (["path,frame", "a.png,1.5"], "column 'frame': '1.5' is not a frame number"),
        (["path,frame", "v0.mp4,1"], "m.csv row 2: 'frame' is for stills, leave it empty for a video"),
        (["path,fps", "v0.mp4,25"], "'fps' is for stills"),
        (["path,fps", "a.png,0"], "column 'fps': 0 is no frame rate"),
        (["path,t_start", "a.png,1"], "'t_start' and 't_end' are for videos"),
        (["path,procedure,procedures", "v0.mp4,a,b"], "both 'procedure' and 'procedures' are filled"),
        (["path,url", ",", "v0.mp4,"], "m.csv row 2: fill one of the columns 'path' and 'url'"),
        (["path,url", "v0.mp4,http://x/y.mp4"], "m.csv row 2: fill one of the columns"),
        (
            ["url", "https://u:secret@host/y.mp4?key=1"],
            r"names the URL 'https://host/y.mp4\?[0-9a-f]{12}': set allow_urls=",
        ),
        (["path", "v0.mp4", "v1.mp4", "./v0.mp4"], "m.csv rows 2 and 4 name the same file or overlapping parts"),
        (["path,t_start,t_end", "v0.mp4,0,3", "v0.mp4,2,4"], "rows 2 and 3 name the same file or overlapping parts"),
        (["path,video_id", "v0.mp4,a", "v1.mp4,a"], "'v0.mp4' and 'v1.mp4' are given the same video_id 'a'"),
        (["path,case_id", "v0.mp4"], "m.csv row 2: not as many fields as the header has"),
    ],
)
def test_mistakes_are_one_sentence(videos, tmp_path, settings, lines, message):
    manifest = write_csv(videos / "m.csv", *lines)
    with pytest.raises(UserError, match=message) as caught:
        curate([manifest], tmp_path / "out", settings())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"path": 3}', "m.jsonl row 1, column 'path': 3 is not text"),
        ('{"path": "v0.mp4", "licence": 3.5}', "column 'licence': 3.5 is not text"),
        ('{"path": "v0.mp4", "procedures": [1]}', r"column 'procedures': \[1\] is neither text"),
        ('{"path": "v0.mp4", "robotic": 1}', "column 'robotic': 1 is not true or false"),
        ('{"path": "v0.mp4", "t_start": true}', "column 't_start': True is not a number"),
        ('{"path": "v0.mp4", "case": 1}', "m.jsonl row 1: unknown column 'case'. Did you mean 'case_id'"),
        ("[1]", "m.jsonl row 1 is not a JSON object"),
        ("{", "m.jsonl row 1 is not JSON"),
    ],
)
def test_typed_rows(videos, row, message):
    (videos / "m.jsonl").write_text(row)
    with pytest.raises(UserError, match=message):
        read_source_manifest(videos / "m.jsonl", None, allow_urls=False)


def test_unreadable_manifests(videos):
    for name, content, message in (
        ("m.csv", b"path\n\xff\xfe\n", "source manifest '.*m.csv' cannot be read: "),
        ("m.parquet", b"nothing", "source manifest '.*m.parquet' cannot be read: "),
    ):
        (videos / name).write_bytes(content)
        with pytest.raises(UserError, match=message):
            read_source_manifest(videos / name, None, allow_urls=False)
    pq.write_table(pa.table({"image": ["x"]}), videos / "m.parquet")
    with pytest.raises(UserError, match=r"unknown column 'image'.*is given as dataset:PATH"):
        read_source_manifest(videos / "m.parquet", None, allow_urls=False)


def test_stills_of_one_video_need_the_same_labels(tmp_path, scene, write_still, settings):
    for name in "ab":
        write_still(tmp_path / "data" / f"{name}.png", scene(1))
    manifest = write_csv(tmp_path / "data" / "m.csv", "path,video_id,robotic", "a.png,v,yes", "b.png,v,no")
    with pytest.raises(UserError, match=r"images 'a.png' and 'b.png' belong to video 'v' but have different labels"):
        curate([manifest], tmp_path / "out", settings())

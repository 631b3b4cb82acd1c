"""Datasets as input: local ones made on the spot, and what is said of those that cannot be opened."""

import io
import sys
from pathlib import Path

import datasets
import pytest
from PIL import Image

from training import curate as entry
from training.corpus import hub_source
from training.corpus.curation import curate
from training.corpus.hub_source import open_dataset, parse_address
from training.corpus.manifest import read_clips, read_drops
from training.errors import UserError


def png(frame) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "png")
    return buffer.getvalue()


def save_parquet(path: Path, rows: list[dict], column: str, feature: object) -> str:
    """A Parquet file with embedded media; returns it as an input."""
    names = [name for name in rows[0] if name != column]
    features = {name: datasets.Features.from_dict({name: _value(rows[0][name])})[name] for name in names}
    table = datasets.Dataset.from_list(rows, features=datasets.Features({column: feature, **features}))
    table.to_parquet(path)
    return f"dataset:{path}"


def _value(value: object) -> dict:
    if isinstance(value, list):
        return {"_type": "List", "feature": {"dtype": "string", "_type": "Value"}}
    return {"dtype": {bool: "bool", int: "int64"}.get(type(value), "string"), "_type": "Value"}


def test_images_in_parquet(tmp_path, scene, settings, monkeypatch):
    monkeypatch.setitem(hub_source.ROWS_AT_ONCE, "image", 2)
    rows = [
        {
            "image": {"bytes": png(scene(number)), "path": None},
            "patient": f"p{number // 3}",
            "video_id": f"v{number // 3}",
            "procedures": ["sleeve"],
            "unrelated": 1,
        }
        for number in range(5)
    ]
    rows.append({**rows[-1], "image": None})
    word = save_parquet(tmp_path / "set.parquet", rows, "image", datasets.Image())
    chosen = settings(dataset_columns={"case_id": "patient"}, licence="CC0")
    out = tmp_path / "out"
    curate([word], out, chosen)
    clips = read_clips(out / "manifest.parquet")
    assert [(clip.clip_id, clip.case_id, clip.procedures, clip.source) for clip in clips] == [
        ("v0-000000", "p0", ("sleeve",), "set"),
        ("v0-000001", "p0", ("sleeve",), "set"),
        ("v0-000002", "p0", ("sleeve",), "set"),
        ("v1-000000", "p1", ("sleeve",), "set"),
        ("v1-000001", "p1", ("sleeve",), "set"),
    ]
    assert clips[0].path == "train/0-row.jpg"
    (drop,) = read_drops(out / "drops.parquet")
    assert (drop.path, drop.reason, drop.detail) == ("train/5-row.jpg", "empty_row", "column 'image' is empty")
    assert {path.name for path in tmp_path.iterdir()} == {"set.parquet", "out"}
    assert curate([word], out, chosen).nothing_new


def test_image_folder_groups_by_folder_and_name(tmp_path, scene, write_still, settings):
    for video in ("VID01", "VID02"):
        for number in range(2):
            write_still(tmp_path / "set" / "train" / video / f"{video}_{number:03d}.png", scene(number))
    write_still(tmp_path / "set" / "test" / "VID03" / "VID03_000.png", scene(9))
    curate([f"dataset:{tmp_path / 'set'}"], tmp_path / "out", settings())
    clips = read_clips(tmp_path / "out" / "manifest.parquet")
    assert {(clip.video_id, clip.num_frames, clip.split) for clip in clips} == {
        ("set__train__VID01__VID01", 2, "train"),
        ("set__train__VID02__VID02", 2, "train"),
        ("set__test__VID03__VID03", 1, "held_out"),
    }


def test_video_folder_with_labels(tmp_path, moving, write_video, settings):
    for name in "ab":
        write_video(tmp_path / "set" / "train" / f"{name}.mp4", moving(3, seed=ord(name)))
    (tmp_path / "set" / "train" / "metadata.csv").write_text(
        "file_name,case_id,robotic,t_start\na.mp4,1,true,1\nb.mp4,1,false,\n"
    )
    curate([f"dataset:{tmp_path / 'set'}"], tmp_path / "out", settings())
    clips = {clip.video_id: clip for clip in read_clips(tmp_path / "out" / "manifest.parquet")}
    assert {name: (clip.case_id, clip.robotic, clip.t_start) for name, clip in clips.items()} == {
        "set__train__a.mp4": ("1", True, 1.0),
        "set__train__b.mp4": ("1", False, 0.0),
    }


def test_video_bytes_and_a_broken_row(tmp_path, video_bytes, settings):
    rows = [
        {"video": {"bytes": video_bytes, "path": "x.mp4"}, "licence": "CC0"},
        {"video": {"bytes": b"nothing", "path": "x.mp4"}, "licence": "CC0"},
    ]
    word = save_parquet(tmp_path / "set.parquet", rows, "video", datasets.Video())
    curate([word], tmp_path / "out", settings())
    (clip,) = read_clips(tmp_path / "out" / "manifest.parquet")
    assert (clip.path, clip.licence, clip.num_frames) == ("train/x.mp4", "CC0", 4)
    (drop,) = read_drops(tmp_path / "out" / "drops.parquet")
    assert (drop.path, drop.reason) == ("train/1-row-x.mp4", "undecodable")


def test_saved_dataset(tmp_path, scene, settings):
    table = datasets.Dataset.from_dict({"image": [{"bytes": png(scene(1)), "path": None}]})
    table.cast_column("image", datasets.Image()).save_to_disk(tmp_path / "set")
    curate([f"dataset:{tmp_path / 'set'}"], tmp_path / "out", settings())
    assert len(read_clips(tmp_path / "out" / "manifest.parquet")) == 1


def test_row_that_names_a_file_elsewhere(tmp_path, scene, write_still, settings):
    (tmp_path / "set").mkdir()
    inside, outside = (write_still(tmp_path / place / "a.png", scene(1)) for place in ("set", "elsewhere"))
    rows = [{"image": {"bytes": None, "path": str(path)}, "n": 1} for path in (inside, outside)]
    word = save_parquet(tmp_path / "set" / "set.parquet", rows, "image", datasets.Image())
    curate([word], tmp_path / "out", settings())
    (drop,) = read_drops(tmp_path / "out" / "drops.parquet")
    assert drop.reason == "outside_root"
    assert len(read_clips(tmp_path / "out" / "manifest.parquet")) == 1


def test_addresses(tmp_path):
    address = parse_address("hf://datasets/org/name@v1.0:default:train:video")
    assert (address.name, address.revision, address.config) == ("org/name", "v1.0", "default")
    assert (address.split, address.column, address.input) == ("train", "video", "name")
    assert parse_address("hf://datasets/org/name::train").config is None
    odd = tmp_path / "a:b"
    odd.mkdir()
    assert parse_address(f"dataset:{odd}").name == str(odd)
    assert parse_address(f"dataset:{odd}::test").split == "test"
    with pytest.raises(UserError, match=r"is not of the form hf://datasets/ORG/NAME\[@REVISION\]"):
        parse_address("hf://datasets/a/b/c")
    with pytest.raises(UserError, match="input 'dataset:gone': 'gone' does not exist"):
        parse_address("dataset:gone")


def test_unknown_split_column_or_label(tmp_path, scene):
    image = {"bytes": png(scene(1)), "path": None}
    word = save_parquet(tmp_path / "set.parquet", [{"image": image, "robotic": "perhaps"}], "image", datasets.Image())
    with pytest.raises(UserError, match=r"unknown split of .* 'test'. Known: train"):
        open_dataset(f"{word}::test", {})
    with pytest.raises(UserError, match=r"unknown video or image column of .* 'imag'. Did you mean 'image'"):
        open_dataset(f"{word}:::imag", {})
    with pytest.raises(UserError, match=r"unknown label in dataset_columns 'case'. Did you mean 'case_id'"):
        open_dataset(word, {"case": "x"})
    with pytest.raises(UserError, match=r"unknown column \(dataset_columns.case_id\) of .* 'x'"):
        open_dataset(word, {"case_id": "x"})
    with pytest.raises(UserError, match=r"split 'train' row 0, column 'robotic': 'perhaps' is not true or false"):
        list(open_dataset(word, {}).scans(lambda file: False, tmp_path))
    datasets.Dataset.from_dict({"text": ["a"]}).to_parquet(tmp_path / "text.parquet")
    with pytest.raises(UserError, match="needs one video or image column, it has only text: name it as"):
        open_dataset(f"dataset:{tmp_path / 'text.parquet'}", {})
    (tmp_path / "bad.parquet").write_text("x")
    with pytest.raises(UserError, match=r"bad.parquet' cannot be opened: "):
        open_dataset(f"dataset:{tmp_path / 'bad.parquet'}", {})


def test_offline_and_gated(monkeypatch):
    def fail(error):
        def load(**_: object) -> None:
            raise error

        monkeypatch.setattr(datasets, "load_dataset", load)

    fail(ConnectionError("Couldn't reach 'a/b' on the Hub (OfflineModeIsEnabled)"))
    with pytest.raises(UserError, match=r"'hf://datasets/a/b' cannot be reached: check the network and HF_ENDPOINT"):
        open_dataset("hf://datasets/a/b", {})
    fail(datasets.exceptions.DatasetNotFoundError("Dataset 'a/b' is a gated dataset on the Hub."))
    with pytest.raises(UserError, match=r"is not open to you \(private or gated\): check the name, accept its terms"):
        open_dataset("hf://datasets/a/b", {})


def test_stream_that_breaks_off(tmp_path, scene):
    image = {"bytes": png(scene(1)), "path": None}
    word = save_parquet(tmp_path / "set.parquet", [{"image": image, "n": 1}], "image", datasets.Image())
    source = open_dataset(word, {})

    def rows():
        yield {"image": image}
        raise ConnectionError

    source.splits["train"] = rows()
    with pytest.raises(UserError, match=r"broke off after row 0 of split 'train' .*: run the same command again"):
        list(source.scans(lambda file: False, tmp_path))


def test_command_line_takes_datasets(tmp_path, video_bytes, monkeypatch, capsys):
    rows = [{"video": {"bytes": video_bytes, "path": None}, "n": 1}]
    word = save_parquet(tmp_path / "set.parquet", rows, "video", datasets.Video())
    words = ["curate", word, str(tmp_path / "out"), "deidentify=false", "filters.duplicate.enabled=false"]
    monkeypatch.setattr(sys, "argv", words)
    entry.main()
    assert "4 frames sampled" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["curate", str(tmp_path), word])
    with pytest.raises(UserError, match="is a dataset: it must be the output folder"):
        entry.main()

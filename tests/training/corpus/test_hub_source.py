"""Datasets as input: local ones made on the spot, and what is said of those that cannot be opened."""

import io
import json
import sys
import zipfile
from pathlib import Path

import datasets
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from training import curate as entry
from training.corpus import hub_source
from training.corpus.curation import curate
from training.corpus.hub_source import DatasetSource, open_dataset, parse_address
from training.corpus.manifest import read_clips, read_drops
from training.corpus.private_names import read_names
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


def stated_paths(folder: Path, *paths: str) -> str:
    """A Parquet file whose rows name files instead of holding them, as it is, whatever `datasets` would make of it."""
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    facts = {"info": {"features": {"image": {"_type": "Image"}, "n": {"dtype": "int64", "_type": "Value"}}}}
    schema = pa.schema([("image", image), ("n", pa.int64())], metadata={"huggingface": json.dumps(facts)})
    rows = [{"image": {"bytes": None, "path": path}, "n": 1} for path in paths]
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "set.parquet")
    return f"dataset:{folder / 'set.parquet'}"


def test_paths_start_from_the_folder_of_the_dataset_and_do_not_leave_it(tmp_path, scene, write_still, settings):
    for place in ("set/in", "secret"):
        write_still(tmp_path / place / "a.png", scene(1))
    (tmp_path / "set" / "link.png").symlink_to(tmp_path / "secret" / "a.png")
    word = stated_paths(tmp_path / "set", "in/a.png", "../secret/a.png", "link.png", "in/gone.png", "a\0.png")
    curate([word], tmp_path / "out", settings())
    assert [clip.path for clip in read_clips(tmp_path / "out" / "manifest.parquet")] == ["train/in/a.png"]
    reasons = {drop.path: drop.reason for drop in read_drops(tmp_path / "out" / "drops.parquet")}
    assert reasons == {
        "train/secret/a.png": "outside_root",
        "train/link.png": "outside_root",
        "train/in/gone.png": "missing_file",
        "train/a\0.png": "outside_root",
    }


def test_videos_in_an_archive_of_the_folder(tmp_path, video_bytes, settings):
    (tmp_path / "set").mkdir()
    with zipfile.ZipFile(tmp_path / "set" / "train.zip", "w") as archive:
        archive.writestr("x/a.mp4", video_bytes)
    curate([f"dataset:{tmp_path / 'set'}"], tmp_path / "out", settings())
    (clip,) = read_clips(tmp_path / "out" / "manifest.parquet")
    assert (clip.path, clip.num_frames) == ("train/x/a.mp4", 4)


def test_a_file_that_cannot_be_fetched_has_its_row_and_is_tried_again(tmp_path, scene, settings, monkeypatch):
    image = {"bytes": png(scene(1)), "path": None}
    word = save_parquet(tmp_path / "set.parquet", [{"image": image, "n": 1}], "image", datasets.Image())

    def opened(word: str, columns: dict) -> DatasetSource:
        source = open_dataset(word, columns)
        gone = {"bytes": None, "path": "hf://datasets/a/b/gone.png"}
        source.splits["train"] = [{"image": image}, {"image": gone}]
        return source

    def fetch(address: str, mode: str) -> io.BytesIO:
        assert (address, mode) == ("hf://datasets/a/b/gone.png", "rb")
        return fetched.pop()

    class Broken(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise TimeoutError

    fetched: list[io.BytesIO] = [io.BytesIO(png(scene(2))), Broken()]
    monkeypatch.setattr("training.corpus.inputs.open_dataset", opened)
    monkeypatch.setattr(fsspec, "open", fetch)
    curate([word], tmp_path / "out", settings())
    (drop,) = read_drops(tmp_path / "out" / "drops.parquet")
    assert (drop.path, drop.reason, drop.detail) == ("train/datasets/a/b/gone.png", "not_fetched", "TimeoutError")
    curate([word], tmp_path / "out", settings())
    assert read_drops(tmp_path / "out" / "drops.parquet") == []
    assert len(read_clips(tmp_path / "out" / "manifest.parquet")) == 2


def test_a_file_of_neither_the_hub_nor_the_folder_is_not_fetched(tmp_path):
    word = stated_paths(tmp_path / "set", f"zip://a.png::{tmp_path}/other.zip")
    with pytest.raises(UserError, match=r"set.parquet split 'train' row 0 names a file outside the Hub and its own"):
        list(open_dataset(word, {}).scans(lambda file: False, tmp_path))


def test_the_private_table_says_which_row_a_file_was(tmp_path, scene, settings):
    rows = [{"image": {"bytes": png(scene(number)), "path": None}, "n": 1} for number in range(2)]
    rows.append({"image": None, "n": 1})
    word = save_parquet(tmp_path / "set.parquet", rows, "image", datasets.Image())
    curate([word], tmp_path / "out", settings(deidentify=True))
    assert {row.true_path: row.location for row in read_names(tmp_path / "out.private")} == {
        "train/0-row.jpg": f"{word} split 'train' row 0",
        "train/1-row.jpg": f"{word} split 'train' row 1",
        "train/2-row.jpg": f"{word} split 'train' row 2",
    }


def test_reading_twice_gives_the_same_names(tmp_path, scene):
    image = {"bytes": png(scene(1)), "path": "a.png"}
    word = save_parquet(tmp_path / "set.parquet", [{"image": image, "n": 1}] * 2, "image", datasets.Image())
    source = open_dataset(word, {})
    first, again = (
        [file.path for scan in source.scans(lambda file: False, tmp_path) for file in scan.files()] for _ in range(2)
    )
    assert first == again == ["train/a.png", "train/1-row-a.png"]


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
    datasets.DatasetDict({}).save_to_disk(tmp_path / "none")
    with pytest.raises(UserError, match=r"none' has no split: give a dataset that holds rows"):
        open_dataset(f"dataset:{tmp_path / 'none'}", {})
    (tmp_path / "bad.parquet").write_text("x")
    with pytest.raises(UserError, match=r"bad.parquet' cannot be opened: "):
        open_dataset(f"dataset:{tmp_path / 'bad.parquet'}", {})


def test_offline_and_gated(monkeypatch):
    def fail(error):
        def load(**_: object) -> None:
            raise error

        monkeypatch.setattr(datasets, "load_dataset", load)

    monkeypatch.setattr(hub_source, "newest_commit", lambda source: "0" * 40)
    fail(ConnectionError("Couldn't reach 'a/b' on the Hub (OfflineModeIsEnabled)"))
    with pytest.raises(UserError, match=r"'hf://datasets/a/b' cannot be reached: check the network and HF_ENDPOINT"):
        open_dataset("hf://datasets/a/b", {})
    fail(datasets.exceptions.DatasetNotFoundError("Dataset 'a/b' is a gated dataset on the Hub."))
    with pytest.raises(UserError, match=r"'hf://datasets/a/b': a/b is gated, and .*: accept its terms at"):
        open_dataset("hf://datasets/a/b", {})


def test_stream_that_breaks_off(tmp_path, scene):
    image = {"bytes": png(scene(1)), "path": None}
    word = save_parquet(tmp_path / "set.parquet", [{"image": image, "n": 1}], "image", datasets.Image())
    source = open_dataset(word, {})

    def rows():
        yield {"image": image}
        raise ConnectionError

    source.splits["train"] = rows()
    with pytest.raises(UserError, match=r"broke off at row 1 of split 'train' \(ConnectionError\): run the same"):
        list(source.scans(lambda file: False, tmp_path))


def test_a_dataset_that_is_damaged_in_the_middle(tmp_path, scene):
    rows = [{"image": {"bytes": png(scene(1)), "path": None}, "text": "x" * 9} for _ in range(6)]
    word = save_parquet(tmp_path / "set.parquet", rows, "image", datasets.Image())
    with pq.ParquetFile(tmp_path / "set.parquet") as file:
        place = file.metadata.row_group(0).column(0).data_page_offset
    content = bytearray((tmp_path / "set.parquet").read_bytes())
    content[place : place + 60] = bytes(60)
    (tmp_path / "set.parquet").write_bytes(content)
    with pytest.raises(UserError, match=r"set.parquet' broke off at row 0 of split 'train' \(\w+\): run the same"):
        list(open_dataset(word, {}).scans(lambda file: False, tmp_path))


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

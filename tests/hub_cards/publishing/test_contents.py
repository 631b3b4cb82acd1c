"""Files that hold something else than their names say, and settings and code that would run more than is shipped."""

import io
import json
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import modeling_zen
from hub_cards.publishing.contents import check_contents
from hub_cards.publishing.kinds import KINDS
from hub_cards.publishing.traces import refuse_traces
from tests.hub_cards.publishing.conftest import mark_again, plan
from training.errors import UserError

MODEL = KINDS["model"]


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("data.pkl", b"x")
    return stream.getvalue()


def tarred() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../../etc/cron.d/x"))
    return stream.getvalue()


def torch_zip() -> bytes:
    stream = io.BytesIO()
    torch.save({"a": torch.zeros(1)}, stream)
    return stream.getvalue()


@pytest.mark.parametrize("name", ["a.json", "a.png", "a.safetensors", "a.md", "openvino_model.bin", "model.onnx"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped(), "is a zip archive by its content"),
        (torch_zip(), "is a zip archive by its content"),
        (b"\x89PNG\r\n" + zipped(), "holds an archive by its content"),
        (tarred(), "holds an archive by its content"),
        (pickle.dumps({"a": 1}), "is a pickle by its content, which runs code"),
        (pickle.dumps({"a": 1}, protocol=2), "is a pickle by its content, which runs code"),
        (b"\x1f\x8b\x08\x00" + bytes(8), "is a gzip archive by its content"),
        (b"\x7fELF" + bytes(8), "is a program by its content"),
        (b"#!/bin/sh\nx", "is a program by its content"),
    ],
)
@pytest.mark.parametrize("is_file", [True, False])
def test_disguises(tmp_path, name, content, message, is_file):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(UserError, match=f"{name} {message}"):
        check_contents(MODEL, {name: tmp_path / "x" if is_file else content})


def test_a_pickle_of_text_and_other_broken_settings():
    for content, message in (
        (pickle.dumps([1], protocol=0), "is not valid JSON"),
        (b'{"a": 1, "a": 2}', "is not valid JSON: key 'a' stands twice"),
        (b"[" * 100_000, "is not valid JSON"),
        (b"", "is not valid JSON"),
    ):
        with pytest.raises(UserError, match=f"a.json {message}"):
            check_contents(MODEL, {"a.json": content})
    with pytest.raises(UserError, match=r"a.png is no PNG picture by its content"):
        check_contents(MODEL, {"a.png": b"<script>alert(1)</script>"})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"auto_map": {"AutoModel": "other/repo--modeling_zen.ZenModel"}}, "takes code from 'other/repo--modeling"),
        ({"auto_map": {"AutoModel": "../evil.ZenModel"}}, r"takes code from '../evil.ZenModel'"),
        ({"auto_map": {"AutoTokenizer": ["modeling_zen.X", "evil.X"]}}, "takes code from 'evil.X'"),
        ({"custom_pipelines": {"x": {"impl": "other/repo--pipeline_zen.P"}}}, "takes code from 'other/repo--pipe"),
        ({"deep": [{"auto_map": {"AutoModel": "evil.X"}}]}, "takes code from 'evil.X'"),
        ({"trust_remote_code": True}, "sets 'trust_remote_code', which is for who loads the model to say"),
        ({"chat_template": "{% for x in y %}"}, "sets 'chat_template'"),
        ({"weight_map": {"a": "../../x.safetensors"}}, "lists the file '../../x.safetensors', which is not among"),
        ({"files": {"/etc/passwd": 3}}, "lists the file '/etc/passwd', which is not among"),
    ],
)
def test_settings_that_reach_out_of_the_folder(settings, message):
    code = (Path(modeling_zen.__file__).parent / "modeling_zen.py").read_bytes()
    files = {"x.json": json.dumps(settings).encode(), "modeling_zen.py": code}
    with pytest.raises(UserError, match=f"x.json {message}"):
        check_contents(MODEL, files)
    check_contents(MODEL, {"training.json": b'{"settings": {"trust_remote_code": false, "impl": "sdpa"}}'})
    good = {"auto_map": {"AutoModel": "modeling_zen.X"}, "weight_map": {"a": "x.json"}}
    check_contents(MODEL, {**files, "x.json": json.dumps(good).encode()})


def test_an_adapter_names_classes_of_its_base():
    def of(target: str) -> dict:
        return {"head_config.json": json.dumps({"auto_map": {"AutoModel": target}}).encode()}

    check_contents(KINDS["adapter"], of("modeling_zen.ZenModel"))
    for kind, target in (
        ("adapter", "evil.X"),
        ("adapter", "o/r--modeling_zen.X"),
        ("export", "modeling_zen.ZenModel"),
    ):
        with pytest.raises(UserError, match=f"head_config.json takes code from '{target}'"):
            check_contents(KINDS[kind], of(target))


def test_only_the_shipped_code_is_published(folder):
    plan(folder)
    code = folder / "modeling_zen.py"
    own = code.read_bytes()
    code.write_bytes(own + b"\nprint('hello')\n")
    mark_again(folder)
    with pytest.raises(UserError, match=r"modeling_zen.py is not as this version of modeling_zen has it, and others"):
        plan(folder)
    code.write_bytes(own)
    (folder / "setup.py").write_text("pass\n")
    mark_again(folder)
    with pytest.raises(UserError, match=r"setup.py is no module of modeling_zen, and others would run it"):
        plan(folder)


def header(entries: dict, data: bytes, length: int | None = None) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


ONE = {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    "content",
    [
        header({"a": ONE}, b"0123", length=2**40),
        header({"a": ONE, "b": {**ONE, "data_offsets": [2, 6]}}, b"012345"),
        header({"a": {**ONE, "data_offsets": [0, 99]}}, b"0123"),
        header({"a": ONE}, b"0123 and more behind"),
        header({"a": {**ONE, "shape": [2**62, 4]}}, b"0123"),
        pickle.dumps({"a": 1}),
    ],
)
def test_headers_of_safetensors(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(UserError, match=r"a.safetensors is not a valid safetensors file"):
        refuse_traces({"a.safetensors": tmp_path / "x"}, 1000, ())
    save_file({"a": torch.zeros(1)}, tmp_path / "x")
    refuse_traces({"a.safetensors": tmp_path / "x"}, 1000, ())

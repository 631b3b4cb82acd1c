"""Nothing that is published tells of the machine, the user or a token."""

import getpass
import socket
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from hub_cards.publishing.traces import refuse_traces
from training.errors import UserError

TOKEN = "hf_" + "Ab1" * 10


def look(files, own_names=()):
    refuse_traces(files, 1000, own_names)


@pytest.mark.parametrize("name", ["README.md", "config.json", "modeling.py", "graph.onnx", "picture.png"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"x {TOKEN} y", "holds what looks like a token, key or password"),
        ("ghp_" + "a1" * 18, "holds what looks like a token, key or password"),
        ("ASIA" + "A1B2" * 4, "holds what looks like a token, key or password"),
        ("git clone https://me:s3cret@host.example/x", "holds what looks like a token, key or password"),
        ("-----BEGIN RSA PRIVATE KEY-----", "holds what looks like a token, key or password"),
        ("see '/home/maria/videos/x.mp4'", r"holds a path of a machine, '/home/maria/'"),
        (r"C:\Users\maria\x.mp4", r"holds a path of a machine, 'C:\\\\Users\\\\maria\\\\'"),
    ],
)
def test_tokens_and_home_folders_in_any_file(name, text, message):
    with pytest.raises(UserError, match=f"{name} {message}") as caught:
        look({name: text.encode()})
    assert TOKEN not in str(caught.value)


def test_local_folders_in_binary_files_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "graph.onnx").write_bytes(b"\x08\x01" + f"{tmp_path}/model.py".encode())
    with pytest.raises(UserError, match=r"graph.onnx holds a path of this machine"):
        look({"graph.onnx": Path("graph.onnx")})


def test_the_token_in_use_whatever_it_looks_like(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "plain-words-as-token")
    with pytest.raises(UserError, match=r"a.json holds what looks like a token") as caught:
        look({"a.json": b'{"x": "plain-words-as-token"}'})
    assert "plain-words" not in str(caught.value)


def test_absolute_paths_in_texts_but_not_in_code():
    with pytest.raises(UserError, match=r"training.json line 2 holds a path of a machine, '/data/site/x.mp4'"):
        look({"training.json": b'{\n"video": "/data/site/x.mp4"}'})
    look({"reader.py": rb're.compile(r"\d\]|/\S+/x")', "README.md": b"https://host/a/b and 1/2 and a/b.py"})


def test_names_of_user_and_host(monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "maria7")
    monkeypatch.setattr(socket, "gethostname", lambda: "or-station.clinic.example")
    with pytest.raises(UserError, match=r"README.md holds the name of this user, 'maria7'"):
        look({"README.md": b"trained by Maria7."})
    with pytest.raises(UserError, match=r"run.json holds the name of this host, 'or-station'"):
        look({"run.json": b'{"host": "or-station"}'})
    look({"README.md": b"see maria7/zen, maria78 and the code"}, ("maria7/zen",))
    monkeypatch.setattr(getpass, "getuser", lambda: "root")
    look({"README.md": b"the root of it"})


@pytest.mark.parametrize("character", ["\x1b", "\x00", "\u202e", "\u200b", "\xad", "\u061c", "\U000e0041"])
def test_characters_that_hide_text(character):
    with pytest.raises(UserError, match=rf"README.md line 2 holds the character U\+{ord(character):04X}, which hides"):
        look({"README.md": f"a\nb{character}".encode()})


def test_metadata_and_names_in_safetensors(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata={"from": "/data/run7/model.pt"})
    with pytest.raises(UserError, match=r"the metadata of model.safetensors line 1 holds a path of a machine, '/data"):
        look({"model.safetensors": path})
    save_file({"a": torch.zeros(1)}, path, metadata={"from": TOKEN})
    with pytest.raises(UserError, match=r"the metadata of model.safetensors holds what looks like a token"):
        look({"model.safetensors": path})
    save_file({"/data/run7/a": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=r"the tensor names of model.safetensors line 1 holds a path"):
        look({"model.safetensors": path})
    path.write_bytes(b"no weights at all")
    with pytest.raises(UserError, match=r"model.safetensors is not a valid safetensors file"):
        look({"model.safetensors": path})


def test_texts_that_are_none(tmp_path):
    with pytest.raises(UserError, match=r"a.json is not UTF-8 text: invalid start byte at byte 1"):
        look({"a.json": b"a\xff"})
    (tmp_path / "a.json").write_text("x" * 1001)
    with pytest.raises(UserError, match=r"a.json has 1,001 bytes; a text file may have 1,000"):
        look({"a.json": tmp_path / "a.json"})


def test_a_token_after_an_escaped_line_break(tmp_path):
    with pytest.raises(UserError, match=r"a.json holds what looks like a token"):
        look({"a.json": rf'{{"x": "one\n{TOKEN}"}}'.encode()})
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors", metadata={"from": f"one\n{TOKEN}"})
    with pytest.raises(UserError, match=r"the metadata of a.safetensors holds what looks like a token"):
        look({"a.safetensors": tmp_path / "a.safetensors"})


def test_the_token_of_the_login_file(tmp_path, monkeypatch):
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "token").write_text("words-of-a-login\n")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(UserError, match=r"README.md holds what looks like a token") as caught:
        look({"README.md": b"made with words-of-a-login"})
    assert "words-of" not in str(caught.value)

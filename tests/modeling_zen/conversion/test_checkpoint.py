"""Reading foreign checkpoints: damage, code in pickles, shards, model cards; nothing is run, nothing is guessed."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from safetensors.torch import save_file as save_safetensors

from modeling_zen.conversion.checkpoint import open_checkpoint, read_weights, select_encoder

WEIGHTS = {"cls_token": torch.ones(1, 1, 4), "norm.weight": torch.ones(4)}


class Trap:
    """Runs code when it is unpickled without restraint."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> Any:
        return (Path.touch, (self.witness,))


def test_pickle_with_code(tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    torch.save({"model": WEIGHTS, "trap": Trap(witness)}, tmp_path / "trap.pth")
    with pytest.raises(ValueError, match=r"trap.pth is damaged, or a pickle with more than tensors .*was not opened"):
        open_checkpoint(tmp_path / "trap.pth")
    assert not witness.exists()


def test_truncated_safetensors(tmp_path: Path) -> None:
    file = tmp_path / "cut.safetensors"
    save_safetensors(WEIGHTS, file)
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"cut.safetensors is damaged or no safetensors file"):
        open_checkpoint(file)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint at all", b"PK\x03\x04 half a zip"])
def test_damaged_pickle(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.pth").write_bytes(content)
    with pytest.raises(ValueError, match=r"bad.pth is damaged"):
        read_weights(tmp_path / "bad.pth")


def test_truncated_pickle(tmp_path: Path) -> None:
    file = tmp_path / "cut.pth"
    torch.save(WEIGHTS, file)
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"cut.pth is damaged"):
        read_weights(file)


def test_not_weights_by_name(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match=r"list.pt holds a list, not weights by name"):
        read_weights(tmp_path / "list.pt")


def test_unknown_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(ValueError, match=r"model.onnx is no weight file: its name must end in .safetensors, .pth"):
        open_checkpoint(tmp_path / "model.onnx")


def test_no_source(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere is neither a file, a folder nor a Hub id such as org/name or"):
        open_checkpoint(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"holds no model.safetensors and no pytorch_model.bin"):
        open_checkpoint(tmp_path)


def test_config_that_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"/config.json is not JSON"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", b"[1]", "/config.json holds a list, not an object"),
        ("config.json", b"\xff", "/config.json is not JSON"),
        ("model.safetensors.index.json", b"{", "/model.safetensors.index.json is not JSON"),
        ("model.safetensors.index.json", b"{}", "/model.safetensors.index.json has no weight_map from keys to files"),
    ],
)
def test_json_of_another_form(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        open_checkpoint(tmp_path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_every_damage_is_named(tmp_path: Path) -> None:
    """Bytes changed at random: whatever torch and the unpickler raise, the message says which file."""
    torch.save(WEIGHTS, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    content, random = (tmp_path / "old.pth").read_bytes(), Random(0)
    raised: set[type] = set()
    for _ in range(300):
        changed = bytearray(content)
        for _ in range(8):
            changed[random.randrange(2, len(changed))] = random.randrange(256)
        (tmp_path / "bad.pth").write_bytes(changed)
        with contextlib.suppress(ValueError), naming("bad.pth", raised):
            read_weights(tmp_path / "bad.pth")
    assert {IndexError, UnicodeDecodeError} <= raised


@contextlib.contextmanager
def naming(name: str, causes: set[type]) -> Iterator[None]:
    """An error inside must name the file; its cause is noted."""
    try:
        yield
    except ValueError as error:
        if name not in str(error):
            pytest.fail(f"{error!r} does not name {name}")
        causes.add(type(error.__cause__))
        raise


def test_tensors_beside_the_encoder(tmp_path: Path) -> None:
    torch.save({"center": torch.ones(2), "model": WEIGHTS}, tmp_path / "x.pth")
    encoder = select_encoder(open_checkpoint(tmp_path / "x.pth"), "cls_token", None)
    assert (encoder.branch, encoder.tensors.keys(), encoder.not_read) == ("model", WEIGHTS.keys(), ("center",))


def test_weights_without_a_name(tmp_path: Path) -> None:
    torch.save({**WEIGHTS, 3: torch.ones(1)}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x.pth holds weights under 3, which is no name"):
        select_encoder(open_checkpoint(tmp_path / "x.pth"), "cls_token", None)


def test_shards_and_card(tmp_path: Path) -> None:
    index: dict[str, dict[str, str]] = {"weight_map": {}}
    for number, (key, tensor) in enumerate(WEIGHTS.items()):
        save_safetensors({key: tensor}, tmp_path / f"part{number}.safetensors")
        index["weight_map"][key] = f"part{number}.safetensors"
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "README.md").write_text('---\ntags: [a]\nlicense: other\nlicense_name: "some-license"\n---\n')
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.content.keys() == WEIGHTS.keys()
    assert sorted(checkpoint.sha256) == ["part0.safetensors", "part1.safetensors"]
    assert checkpoint.card_licence == "some-license"
    (tmp_path / "part1.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"names files that are not there: part1.safetensors"):
        open_checkpoint(tmp_path)


def test_shards_outside_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    save_safetensors(WEIGHTS, tmp_path / "other.safetensors")
    index = {"weight_map": {"cls_token": "../other.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(FileNotFoundError, match=r"names files that are not there: ../other.safetensors"):
        open_checkpoint(folder)


def test_shards_that_overlap(tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        save_safetensors(WEIGHTS, tmp_path / name)
    index = {"weight_map": {"cls_token": "a.safetensors", "norm.weight": "b.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"hold the same keys: cls_token, norm.weight"):
        open_checkpoint(tmp_path)


def test_values_beside_tensors(tmp_path: Path) -> None:
    torch.save({**WEIGHTS, "epoch": 3}, tmp_path / "mixed.pth")
    with pytest.raises(ValueError, match=r"epoch of mixed.pth is a int, not a tensor"):
        select_encoder(open_checkpoint(tmp_path / "mixed.pth"), "cls_token", None)


def test_same_key_with_and_without_prefix(tmp_path: Path) -> None:
    torch.save(
        {"backbone.cls_token": torch.ones(1), "backbone.a": torch.ones(1), "a": torch.ones(1)}, tmp_path / "x.pth"
    )
    with pytest.raises(ValueError, match=r"x.pth holds a twice, with and without the prefix backbone."):
        select_encoder(open_checkpoint(tmp_path / "x.pth"), "cls_token", None)


def test_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = tmp_path / "0123abcd"
    commit.mkdir()
    save_safetensors(WEIGHTS, commit / "model.safetensors")
    asked = []

    def download(repo: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((repo, revision, allow_patterns))
        return str(commit)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    checkpoint = open_checkpoint("org/name", revision="main")
    assert (checkpoint.name, checkpoint.revision) == ("org/name", "0123abcd")
    assert asked[0][:2] == ("org/name", "main")
    assert not any(pattern.endswith((".py", ".bin*")) for pattern in asked[0][2])


def test_file_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "0123abcd" / "sub").mkdir(parents=True)
    file = tmp_path / "0123abcd" / "sub" / "weights.pth"
    torch.save(WEIGHTS, file)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: str(file))
    checkpoint = open_checkpoint("org/name/sub/weights.pth")
    assert (checkpoint.name, checkpoint.revision) == ("org/name/sub/weights.pth", "0123abcd")


def test_empty_config_is_none(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    torch.save(WEIGHTS, tmp_path / "pytorch_model.bin")
    assert open_checkpoint(tmp_path).config is None


def test_hub_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise ConnectionError("no\nnetwork")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    for source in ("org/name", "org/name/weights.pth"):
        with pytest.raises(FileNotFoundError, match=r"^org/name could not be fetched from the Hub: no network$"):
            open_checkpoint(source)

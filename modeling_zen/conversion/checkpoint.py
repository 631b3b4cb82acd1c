"""Foreign checkpoints as they lie on disk or on the Hub, read without running anything that is in them."""

import argparse
import contextlib
import hashlib
import json
import pickle
import re
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ..modeling_zen import first_few

_PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl")


@dataclass(frozen=True)
class Checkpoint:
    """A foreign checkpoint.

    Attributes:
        name: Hub id, or name of the file or folder without the path to it.
        folder: Where config and processor lie; `None` for a single file.
        config: Content of config.json; `None` if there is none.
        content: What the weight files hold: tensors by key, possibly in dictionaries of dictionaries.
        sha256: Of each weight file, by file name.
        revision: Commit on the Hub.
        card_licence: `license_name` or `license` in the head of README.md.
    """

    name: str
    folder: Path | None
    config: dict[str, Any] | None
    content: dict[str, Any]
    sha256: dict[str, str]
    revision: str | None = None
    card_licence: str | None = None


@dataclass(frozen=True)
class Encoder:
    """The weights of one encoder within a checkpoint.

    Attributes:
        branch: Where they were found, names joined by dots; empty if the checkpoint holds nothing else.
        tensors: Keys without that prefix. Keys beside the encoder, such as heads, keep their whole name.
        not_read: What else the checkpoint holds, by its outermost names.
    """

    branch: str
    tensors: dict[str, torch.Tensor]
    not_read: tuple[str, ...] = field(default=())


def open_checkpoint(source: str | Path, revision: str | None = None) -> Checkpoint:
    """Read a transformers or timm folder, a Hub id, or a single file of weights, local or on the Hub.

    Raises:
        FileNotFoundError: There is no such file or folder, and the name is no Hub id; or a folder without weights.
        ValueError: A file is damaged, is of no known kind, or a pickle holds more than tensors and plain values.
    """
    path = Path(source)
    if path.is_file():
        return _open_file(path, path.name, None)
    if path.is_dir():
        return _open_folder(path, path.resolve().name, None)
    on_hub = re.fullmatch(r"([\w.-]+/[\w.-]+?)(?:/([\w./-]+))?", str(source))
    if on_hub is None or Path(path.parts[0]).exists():
        raise FileNotFoundError(
            f"{source} is neither a file, a folder nor a Hub id such as org/name or org/name/weights.pth"
        )
    repo, file = on_hub.groups()
    if file is None:
        folder, commit = _download(repo, revision)
        return _open_folder(folder, repo, commit)
    from huggingface_hub import hf_hub_download

    with _fetching(repo):
        local = Path(hf_hub_download(repo, file, revision=revision))
    # The cache keeps a file as snapshots/COMMIT/path/in/the/repository.
    return _open_file(local, str(source), local.parents[file.count("/")].name)


def _open_file(file: Path, name: str, commit: str | None) -> Checkpoint:
    digest = {file.name: _sha256(file)}
    return Checkpoint(name, folder=None, config=None, content=read_weights(file), sha256=digest, revision=commit)


def _download(repo: str, revision: str | None) -> tuple[Path, str]:
    from huggingface_hub import snapshot_download

    wanted = ["config.json", "preprocessor_config.json", "README.md", "*.safetensors", "*.safetensors.index.json"]
    with _fetching(repo):
        folder = Path(snapshot_download(repo, revision=revision, allow_patterns=wanted))
        if not list(folder.glob("*.safetensors")):
            pickles = [*wanted, "pytorch_model*.bin*"]
            folder = Path(snapshot_download(repo, revision=revision, allow_patterns=pickles))
    return folder, folder.name  # the cache names a snapshot after its commit


@contextlib.contextmanager
def _fetching(repo: str) -> Iterator[None]:
    """The errors of the Hub, many lines each, in one sentence."""
    try:
        yield
    except OSError as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise FileNotFoundError(f"{repo} could not be fetched from the Hub: {reason}") from error


def _open_folder(folder: Path, name: str, commit: str | None) -> Checkpoint:
    config_file = folder / "config.json"
    config = None
    if config_file.is_file() and config_file.stat().st_size:  # the one of EndoViT on the Hub is empty
        config = _read_json(config_file, name)
    files = _weight_files(folder, name)
    content: dict[str, Any] = {}
    for file in files:
        part = read_weights(file)
        twice = sorted(content.keys() & part.keys())
        if twice:
            raise ValueError(f"two weight files of {name} hold the same keys: {first_few(twice)}")
        content |= part
    return Checkpoint(
        name=name,
        folder=folder,
        config=config,
        content=content,
        sha256={file.name: _sha256(file) for file in files},
        revision=commit,
        card_licence=_card_licence(folder / "README.md"),
    )


def _weight_files(folder: Path, name: str) -> list[Path]:
    for stem in ("model.safetensors", "pytorch_model.bin"):
        if (folder / stem).is_file():
            return [folder / stem]
        index = folder / f"{stem}.index.json"
        if index.is_file():
            weight_map = _read_json(index, name).get("weight_map")
            if not isinstance(weight_map, dict) or not all(isinstance(part, str) for part in weight_map.values()):
                raise ValueError(f"{name}/{index.name} has no weight_map from keys to files")
            parts = sorted(set(weight_map.values()))
            absent = [part for part in parts if Path(part).name != part or not (folder / part).is_file()]
            if absent:
                raise FileNotFoundError(f"{index.name} of {name} names files that are not there: {first_few(absent)}")
            return [folder / part for part in parts]
    raise FileNotFoundError(f"{name} holds no model.safetensors and no pytorch_model.bin")


def _read_json(file: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{name}/{file.name} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{name}/{file.name} holds a {type(content).__name__}, not an object")
    return content


# What Python's unpickler and torch raise for bytes that were changed, beside what they mean to raise.
_DAMAGE = (
    *(RuntimeError, OSError, EOFError, LookupError, ValueError, TypeError, AttributeError, AssertionError),
    *(ArithmeticError, struct.error, zipfile.BadZipFile),
)


def read_weights(file: Path) -> dict[str, Any]:
    """The content of one weight file, on the CPU.

    A pickle is read by torch's restricted reader: tensors, plain values and `argparse.Namespace` (the settings of a
    training run, which the checkpoints of DINO, iBOT, MAE and EndoViT carry); anything else is refused, not run.

    Raises:
        ValueError: As `open_checkpoint`.
    """
    if file.suffix == ".safetensors":
        try:
            return load_file(file)
        except SafetensorError as error:
            raise ValueError(f"{file.name} is damaged or no safetensors file: {error}") from error
    if file.suffix not in _PICKLES:
        raise ValueError(f"{file.name} is no weight file: its name must end in .safetensors, {', '.join(_PICKLES)}")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL ([\w.]+)|Unsupported (?:global|class|operand) ([\w.]+)", str(error))
        what = f" (it asks for {next(filter(None, asked.groups()))})" if asked else ""
        raise ValueError(
            f"{file.name} is damaged, or a pickle with more than tensors in it, which could run code{what}; "
            "it was not opened"
        ) from error
    except _DAMAGE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{file.name} is damaged or no file of torch.save: {reason}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file.name} holds a {type(content).__name__}, not weights by name")
    return content


def select_encoder(checkpoint: Checkpoint, marker: str, branch: str | None) -> Encoder:
    """Find the one encoder in a checkpoint.

    Checkpoints of self-supervised training hold a student and a teacher, in dictionaries or below prefixes such as
    `module.backbone.`. If there is one encoder it is taken; if there are several, the caller must choose.

    Args:
        checkpoint: As read.
        marker: A key that every encoder of the family has.
        branch: Leading names of the wanted one, such as `"teacher"` or `"model.student"`; or `None`.

    Raises:
        ValueError: There is none, or `branch` leaves none or several; the message lists what there is.
    """
    found: dict[str, tuple[dict[str, Any], str]] = {}
    for path, level in _levels(checkpoint.content):
        for key in level:
            if isinstance(key, str) and (key == marker or key.endswith(f".{marker}")):
                prefix = key.removesuffix(marker)
                found[".".join(filter(None, [*path, prefix.rstrip(".")]))] = (level, prefix)
    if not found:
        raise ValueError(f"{checkpoint.name} holds no {marker}, so it is not of that family")
    wanted = [name for name in found if branch is None or f"{name}.".startswith(f"{branch}.")]
    if len(wanted) != 1:
        names = ", ".join(repr(name) for name in found)
        if branch is None:
            raise ValueError(f"{checkpoint.name} holds {len(found)} encoders: say by branch which of {names}")
        raise ValueError(f"branch {branch!r} of {checkpoint.name} fits {len(wanted)} of its encoders: {names}")
    level, prefix = found[wanted[0]]
    others = [_fork(prefix, other) for same_level, other in found.values() if same_level is level and other != prefix]
    tensors: dict[str, torch.Tensor] = {}
    not_read = {str(key) for key in checkpoint.content if checkpoint.content is not level}
    for key, value in level.items():
        fork = next((other for other in others if str(key).startswith(other)), None)
        if fork is not None:
            not_read.add(fork.rstrip("."))
            continue
        if not isinstance(key, str):
            raise ValueError(f"{checkpoint.name} holds weights under {key!r}, which is no name")
        if not isinstance(value, torch.Tensor):
            raise ValueError(f"{key} of {checkpoint.name} is a {type(value).__name__}, not a tensor")
        short = key.removeprefix(prefix)
        if short in tensors:
            raise ValueError(f"{checkpoint.name} holds {short} twice, with and without the prefix {prefix}")
        tensors[short] = value
    not_read -= {wanted[0].split(".")[0]} if level is not checkpoint.content else set()
    return Encoder(wanted[0], tensors, tuple(sorted(not_read)))


def _levels(content: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every dictionary that holds tensors, with the names that lead to it."""
    if any(isinstance(value, torch.Tensor) for value in content.values()):
        yield path, content
    for key, value in content.items():
        if isinstance(value, dict) and isinstance(key, str):
            yield from _levels(value, (*path, key))


def _fork(prefix: str, other: str) -> str:
    """The beginning of `other` up to the name at which it parts from `prefix`, dot included."""
    names, others = prefix.split("."), other.split(".")
    shared = next(index for index, name in enumerate(others) if index >= len(names) or name != names[index])
    return ".".join(others[: shared + 1]) + "."


def _card_licence(card: Path) -> str | None:
    """`license_name`, else `license`, of the YAML head of a model card."""
    if not card.is_file():
        return None
    head = re.match(r"---\s*\n(.*?)\n---", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    for field_name in ("license_name", "license"):
        found = re.search(rf"^{field_name}:[ \t]*(\S.*?)[ \t]*$", head[1], re.MULTILINE) if head else None
        if found and found[1] != "other":  # "other" without a name says nothing
            return found[1].strip("'\"")
    return None


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

"""Whether files hold what their names say: no archive or pickle under another name, no code but the shipped one."""

import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import modeling_zen
from hub_cards.publishing.kinds import ADAPTER, MODEL, Kind
from training.errors import UserError

Content = Path | bytes
# First bytes of formats that hold other files, or run.
_DISGUISED = {
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"(\xb5/\xfd": "a zstd archive",
    b"Rar!": "a rar archive",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy file",
    b"\x7fELF": "a program",
    b"MZ": "a program",
    b"#!": "a program",
}
_PICKLE = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))  # the first two bytes; the last is "."
_TAR_MARK, _TAR_PLACE = b"ustar", 257
_PNG = b"\x89PNG"
# Keys of settings that make a reader run more than the code of the folder.
_LOADS_MORE = frozenset({"chat_template", "code_revision", "trust_remote_code"})
_RECORDS = frozenset({"corpus.json", "teachers.json", "training.json"})  # of the run, which no reader acts on
# Keys whose values name files beside the settings: shards by the index of weights, graphs by `export.json`.
_LISTS: dict[str, Callable[[Any], Iterator[str]]] = {
    "weight_map": lambda value: _texts(value),
    "files": lambda value: iter(value if isinstance(value, dict) else ()),
}
_CLASS = re.compile(r"(\w+)\.\w+")


def check_contents(kind: Kind, files: Mapping[str, Content]) -> None:
    """Look at the first and last bytes of all files, at all settings, and at the code of a model.

    Args:
        kind: of the folder.
        files: by path in the repository.

    Raises:
        UserError: naming the file that is something else than it says, or would run foreign code.
    """
    for name, content in files.items():
        _refuse_disguise(name, content)
        if name.endswith(".json"):
            _check_settings(name, _read_json(name, content), kind, files)
        if name.endswith(".py") and kind.name == MODEL:
            _check_code(name, content)


def _refuse_disguise(name: str, content: Content) -> None:
    first, last = _ends(content)
    for mark, what in _DISGUISED.items():
        if first.startswith(mark):
            raise UserError(f"{name} is {what} by its content; publish safetensors and texts instead")
    if first.startswith(_PICKLE) and last == b".":
        raise UserError(f"{name} is a pickle by its content, which runs code when it is read; publish safetensors")
    is_tar = first[_TAR_PLACE : _TAR_PLACE + len(_TAR_MARK)] == _TAR_MARK
    if is_tar or zipfile.is_zipfile(BytesIO(content) if isinstance(content, bytes) else content):
        raise UserError(f"{name} holds an archive by its content; publish safetensors and texts instead")
    if name.endswith(".png") and not first.startswith(_PNG):
        raise UserError(f"{name} is no PNG picture by its content; make it again")


def _ends(content: Content) -> tuple[bytes, bytes]:
    """The first 512 bytes and the last one."""
    if isinstance(content, bytes):
        return content[:512], content[-1:]
    with content.open("rb") as file:
        first = file.read(512)
        file.seek(-1, 2)
        return first, file.read(1)


def _read_json(name: str, content: Content) -> Any:
    data = content if isinstance(content, bytes) else content.read_bytes()
    try:
        return json.loads(data, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name} is not valid JSON: {error}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; `ValueError` if a key stands twice, as readers differ in which of the two counts."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} stands twice")
    return found


def _check_settings(name: str, settings: Any, kind: Kind, files: Mapping[str, Content]) -> None:
    for key, value in _pairs(settings):
        if key in _LOADS_MORE and name not in _RECORDS:
            raise UserError(f"{name} sets {key!r}, which is for who loads the model to say; remove it")
        if key == "auto_map":
            for target in _texts(value):
                _check_class(name, target, kind, files)
        if key == "custom_pipelines":
            for _, target in (pair for pair in _pairs(value) if pair[0] == "impl"):
                _check_class(name, str(target), kind, files)
        if key in _LISTS:
            for listed in _LISTS[key](value):
                if listed not in files:
                    raise UserError(f"{name} lists the file {listed!r}, which is not among those that are published")


def _check_class(name: str, target: str, kind: Kind, files: Mapping[str, Content]) -> None:
    """`UserError` unless a class is in the folder; beside an adapter's settings it is in the base model's."""
    found = _CLASS.fullmatch(target)
    file = f"{found.group(1)}.py" if found else ""
    if file not in files and (kind.name != ADAPTER or not _shipped(file).is_file()):
        raise UserError(f"{name} takes code from {target!r}, which is not in this folder; save the model again")


def _shipped(file: str) -> Path:
    return Path(modeling_zen.__file__).parent / file


def _check_code(name: str, content: Content) -> None:
    shipped = _shipped(name)
    if not shipped.is_file():
        raise UserError(f"{name} is no module of modeling_zen, and others would run it; move it away")
    if (content if isinstance(content, bytes) else content.read_bytes()) != shipped.read_bytes():
        raise UserError(
            f"{name} is not as this version of modeling_zen has it, and others would run it: save the model again "
            "with this version, and make its card again"
        )


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, at any depth."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key, item
            yield from _pairs(item)
    elif isinstance(value, list):
        for item in value:
            yield from _pairs(item)


def _texts(value: Any) -> Iterator[str]:
    """Every leaf as text."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
    elif value is not None:
        yield str(value)

"""Nothing published tells of the machine it was made on: no path, user, host or token, no text that hides itself."""

import getpass
import json
import mmap
import re
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from huggingface_hub import get_token
from safetensors import SafetensorError, safe_open

from training.corpus.machine_paths import machine_path
from training.errors import UserError
from training.redaction import holds_secret

TEXTS = frozenset({".json", ".md", ".py", ".txt", ".xml", ".yaml"})
_HOME = re.compile(rb"/(?:home|Users)/[\w.-]+/|[A-Za-z]:\\+Users\\+[\w.-]+\\")
# Control characters, those that change the order in which text is shown, those that take no place, and tags.
_HIDING = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\U000e0000-\U000e007f]"
)
# Names of accounts and hosts that say nothing about whose they are.
_COMMON = frozenset(
    {"admin", "build", "data", "debian", "docker", "host", "jenkins", "linux", "local", "localhost", "model", "root"}
    | {"runner", "server", "test", "ubuntu", "user", "vagrant", "work"}
)
_SHORTEST_NAME = 4  # characters: shorter names of users and hosts are parts of too many words


def refuse_traces(files: Mapping[str, Path | bytes], text_bytes: int, own_names: tuple[str, ...]) -> None:
    """Look through all files, and through the metadata of safetensors files.

    Args:
        files: by path in the repository.
        text_bytes: the largest text file.
        own_names: ids of repositories; names of users in them are meant to be read.

    Raises:
        UserError: naming the file and what was found in it; of a token only where it is.
    """
    for name, content in files.items():
        suffix = Path(name).suffix
        if suffix in TEXTS:
            data = content if isinstance(content, bytes) else _read(content, name, text_bytes)
            try:
                text = data.decode("utf-8")
            except UnicodeDecodeError as error:
                raise UserError(f"{name} is not UTF-8 text: {error.reason} at byte {error.start}") from error
            _refuse_in_text(text, name, own_names, is_code=suffix == ".py")
        elif suffix == ".safetensors" and isinstance(content, Path):
            for where, text in _metadata(content, name):
                _refuse_in_text(text, where, own_names, is_code=False)
        else:
            _refuse_in_bytes(content, name)


def _read(path: Path, name: str, text_bytes: int) -> bytes:
    if path.stat().st_size > text_bytes:
        raise UserError(f"{name} has {path.stat().st_size:,} bytes; a text file may have {text_bytes:,}")
    return path.read_bytes()


def _refuse_in_text(text: str, where: str, own_names: tuple[str, ...], *, is_code: bool) -> None:
    if found := _HIDING.search(text):
        place = text.count("\n", 0, found.start()) + 1
        raise UserError(f"{where} line {place} holds the character U+{ord(found.group()):04X}, which hides text")
    _refuse_in_bytes(text.encode(), where)
    if is_code:  # regular expressions in code look like paths; names of local folders were looked for above
        return
    for own in own_names:
        text = text.replace(own, "")
    for number, line in enumerate(text.splitlines(), start=1):
        if path := machine_path(line):
            raise UserError(f"{where} line {number} holds a path of a machine, {path[:80]!r}; remove it")
    for what, name in (("user", getpass.getuser()), ("host", socket.gethostname().partition(".")[0])):
        is_telling = len(name) >= _SHORTEST_NAME and name.lower() not in _COMMON
        if is_telling and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE):
            raise UserError(f"{where} holds the name of this {what}, {name!r}; remove it")


def _refuse_in_bytes(content: bytes | Path, where: str) -> None:
    """Tokens and local folders, in any file."""
    if isinstance(content, Path):
        with content.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            _search(mapped, where)
    else:
        _search(content, where)


def _search(data: bytes | mmap.mmap, where: str) -> None:
    token = get_token()
    if holds_secret(data) or (token and data.find(token.encode()) >= 0):
        raise UserError(
            f"{where} holds what looks like a token, key or password; remove it, and revoke it if it is one"
        )
    if found := _HOME.search(data):
        raise UserError(f"{where} holds a path of a machine, {found.group().decode(errors='replace')!r}; remove it")
    for folder in sorted({Path.home(), Path.cwd(), Path(tempfile.gettempdir())}):
        if len(folder.parts) > 1 and data.find(f"{folder}/".encode()) >= 0:
            raise UserError(f"{where} holds a path of this machine, '{folder}/'; remove it")


def _metadata(path: Path, name: str) -> Iterator[tuple[str, str]]:
    """Where and what: the metadata of a safetensors file and the names of its tensors."""
    try:
        with safe_open(path, framework="pt") as opened:
            metadata, names = opened.metadata() or {}, opened.keys()
    except SafetensorError as error:
        raise UserError(f"{name} is not a valid safetensors file: {error}") from error
    yield f"the metadata of {name}", json.dumps(metadata, ensure_ascii=False)
    yield f"the tensor names of {name}", "\n".join(names)

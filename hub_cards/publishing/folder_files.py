"""The files of a folder that is to be published: expected types, harmless names, sizes that the Hub takes."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from training.errors import UserError

# Formats that run code when they are read, or may hold pickles.
EXECUTABLE = frozenset(
    {".bin", ".ckpt", ".dill", ".dll", ".exe", ".gz", ".h5", ".joblib", ".keras", ".msgpack", ".npy", ".npz", ".pickle"}
    | {".pkl", ".pt", ".pth", ".pyc", ".sh", ".so", ".tar", ".zip"}
)
HIDDEN_ALLOWED = frozenset({".eval_results"})  # where the Hub looks for results
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_JUNK = frozenset({"__pycache__"})
# What Windows takes for devices, whatever the ending; a file of this name cannot be written there.
_RESERVED = re.compile(r"(?:aux|con|nul|prn|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Limits:
    """What a folder may be; the Hub's own limits are looser and answered only after hours of sending."""

    name_length: int = 100  # characters of one part of a path; some file systems take 143
    depth: int = 3  # parts of a path; folders of ours have two
    files: int = 1000  # in all; folders of ours have about forty
    file_bytes: int = 50 * 10**9  # of one file, the largest that a single LFS upload takes
    text_bytes: int = 5 * 10**6  # of a text file, which is read, checked and sent in one piece


def collect(folder: Path, endings: frozenset[str], names: frozenset[str], limits: Limits) -> dict[str, Path]:
    """Path in the repository -> file, sorted.

    Args:
        folder: to publish.
        endings: of files that may be in it.
        names: of files that may be in it whatever their ending.
        limits: on names, counts and sizes.

    Raises:
        UserError: naming the first entry that must not be published. Compiled Python files are passed over.
    """
    found: dict[str, Path] = {}
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(set(folders) - _JUNK)
        for name in sorted([*folders, *files]):
            path = Path(parent, name)
            relative = path.relative_to(folder)
            _check_name(relative, limits)
            if path.is_symlink():
                raise UserError(f"{str(path)!r} is a symbolic link, which is not published: put the file itself there")
            if path.is_dir():
                continue
            if not path.is_file():
                raise UserError(f"{str(path)!r} is no regular file; move it away")
            if name not in names:
                _check_ending(path, endings)
            found[relative.as_posix()] = path
    _check_together(folder, found, limits)
    return found


def _check_name(relative: Path, limits: Limits) -> None:
    shown = ascii(str(relative))[:120]
    if len(relative.parts) > limits.depth:
        raise UserError(f"{shown} lies deeper than {limits.depth} levels; move it up or away")
    name = relative.name
    if len(name) > limits.name_length:
        raise UserError(f"the name of {shown} has {len(name)} characters; at most {limits.name_length} are published")
    if name.startswith(".") and name not in HIDDEN_ALLOWED:
        raise UserError(f"{shown} is hidden, and hidden files are not published; move it away")
    if name not in HIDDEN_ALLOWED and not _NAME.fullmatch(name):
        raise UserError(f"the name of {shown} must be of letters, digits and _ . + - only; rename it")
    if name.endswith(".") or _RESERVED.fullmatch(name):
        raise UserError(f"the name of {shown} cannot be written on Windows; rename it")


def _check_ending(path: Path, endings: frozenset[str]) -> None:
    if path.suffix.lower() in EXECUTABLE:
        raise UserError(f"{str(path)!r} is of a format that may run code when it is read; publish safetensors instead")
    if path.suffix not in endings:
        raise UserError(f"{str(path)!r} does not belong here: only {', '.join(sorted(endings))} are; move it away")


def _check_together(folder: Path, found: dict[str, Path], limits: Limits) -> None:
    if len(found) > limits.files:
        raise UserError(f"{str(folder)!r} holds {len(found)} files; at most {limits.files} are published")
    seen: dict[str, str] = {}
    for name, path in found.items():
        if other := seen.get(name.lower()):
            raise UserError(f"{name!r} and {other!r} are one file on systems that ignore case; rename one")
        seen[name.lower()] = name
        size = path.stat().st_size
        if size == 0:
            raise UserError(f"{str(path)!r} is empty; write it again or move it away")
        if size > limits.file_bytes:
            raise UserError(f"{str(path)!r} has {size:,} bytes, more than the {limits.file_bytes:,} of one upload")

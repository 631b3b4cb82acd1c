"""`codecs.safetensors`: what decodes the features of a cache, the same for all its shards."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from training.errors import UserError
from training.teachers.cache.codecs import CODECS, Codec

CODECS_FILE = "codecs.safetensors"

Codecs = dict[str, Codec]  # by "teacher/tokens"


def make_codecs(record: Mapping[str, Any]) -> dict[int, Codecs]:
    """Codecs by size of the student, not fitted yet. Summaries are kept in half precision whatever the form."""
    return {
        int(size): {
            name: CODECS.get(record["form"] if name.endswith("/dense") else "fp16")(shape[0], record["components"])
            for name, shape in shapes.items()
        }
        for size, shapes in record["shapes"].items()
    }


def write_codecs(folder: Path, codecs: Mapping[int, Codecs]) -> None:
    """Write fitted codecs; complete or not there at all."""
    tensors = {
        f"{size}/{name}/{key}": tensor.cpu().contiguous()
        for size, own in codecs.items()
        for name, codec in own.items()
        for key, tensor in codec.state_dict().items()
    }
    draft = folder / f".{CODECS_FILE}.tmp"
    save_file(tensors, draft)
    draft.chmod(0o644)  # safetensors writes for its owner alone; a cache may be shared
    draft.replace(folder / CODECS_FILE)


def read_codecs(folder: Path, record: Mapping[str, Any]) -> dict[int, Codecs]:
    """The codecs of a cache; `UserError` if their file is missing, damaged or of another cache."""
    path, codecs = folder / CODECS_FILE, make_codecs(record)
    try:
        tensors = load_file(path)
        for size, own in codecs.items():
            for name, codec in own.items():
                start = f"{size}/{name}/"
                state = {key.removeprefix(start): part for key, part in tensors.items() if key.startswith(start)}
                codec.load_state_dict(state, strict=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise UserError(f"{str(path)!r} is not what decodes this cache ({error}): write the cache anew") from error
    return codecs

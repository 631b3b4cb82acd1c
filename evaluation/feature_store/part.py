"""One part of a store: rows of one backbone's features, in memory or as two files of which damage is noticed.

    NAME.safetensors   the tensors; its metadata hold the key, the number of rows and a SHA-256 of every tensor
    NAME.parquet       one line per row: whose it is, and which row of coarse and dense tokens goes with it

The table is renamed to its place last: a part without one was cut off and counts as not there.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from evaluation.feature_store.encoding import POOLED, TOKENS
from training.corpus.atomic import replacing
from training.errors import UserError, full_disk_error

TENSORS = (*POOLED, *(name for token in TOKENS for name in (token, f"{token}_scale")))
INDEX_SCHEMA = pa.schema(
    [("source", pa.string()), ("number", pa.int64()), ("coarse_row", pa.int32()), ("dense_row", pa.int32())]
)
INDEX_SUFFIX, DATA_SUFFIX = ".parquet", ".safetensors"


@dataclass(frozen=True)
class Part:
    """Features of N different frames.

    Attributes:
        keys: of the frames: any hashable values; `FrameKey`s on disk.
        token_rows: int32 (N,) by "coarse" and "dense": rows in these tensors, -1 for frames without.
        tensors: see `encode`; those of a part on disk are mapped, not read.
        seconds: that the forward passes took.
        name: of its files, without suffix.
    """

    keys: Sequence[Any]
    token_rows: Mapping[str, np.ndarray]
    tensors: Mapping[str, np.ndarray]
    seconds: float
    name: str = ""


@dataclass(frozen=True)
class PartIndex:
    """The table of a part on disk: see `Part`."""

    path: Path
    keys: list[tuple[str, int]]
    token_rows: dict[str, np.ndarray]

    @property
    def data(self) -> Path:
        """The file with the tensors."""
        return self.path.with_suffix(DATA_SUFFIX)


def write_part(folder: Path, part: Part, key: Mapping[str, Any]) -> None:
    """Write a part under a name of its own; a kill leaves all of it or nothing that counts.

    Args:
        folder: of the backbone.
        part: what is written.
        key: JSON-able, what all parts of the folder share.

    Raises:
        UserError: the disk is full; parts that are complete stay.
    """
    index = folder / f"{uuid.uuid4().hex}{INDEX_SUFFIX}"
    sources, numbers = zip(*part.keys, strict=True)
    columns = [sources, numbers, part.token_rows["coarse"], part.token_rows["dense"]]
    table = pa.Table.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, INDEX_SCHEMA, strict=True)], schema=INDEX_SCHEMA
    )
    tensors = {name: np.ascontiguousarray(part.tensors[name]) for name in TENSORS}
    facts = {
        "key": key,
        "rows": len(part.keys),
        "seconds": part.seconds,
        "index_sha256": _sha256_of_index(part.keys, part.token_rows),
        "sha256": {name: _sha256_of_tensor(tensor) for name, tensor in tensors.items()},
    }
    message = f"no space left in {str(folder)!r}: free some and run the same command again, complete parts stay"
    with full_disk_error(message):
        with replacing(index.with_suffix(DATA_SUFFIX)) as draft:
            draft.write_bytes(save(tensors, metadata={"facts": json.dumps(facts)}))
        with replacing(index) as draft:
            pq.write_table(table, draft)


def read_index(path: Path) -> PartIndex:
    """The table of a part. Raises `UserError` if it is damaged, `FileNotFoundError` if another process removed it."""
    try:
        table = pq.read_table(path, schema=INDEX_SCHEMA)
        keys = list(zip(table["source"].to_pylist(), table["number"].to_pylist(), strict=True))
        rows = {name: table[f"{name}_row"].to_numpy() for name in TOKENS}
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, " ".join(str(error).split())) from error
    return PartIndex(path, keys, rows)


def open_part(index: PartIndex, key: Mapping[str, Any], verified: Sequence[str]) -> Part:
    """Map the tensors of a part.

    Args:
        index: its table.
        key: that the part must have been written under.
        verified: names of tensors whose every byte is checked; without any, only what costs nothing is.

    Raises:
        UserError: a file is missing, cut off, changed, or of another backbone.
    """
    try:
        with safe_open(index.data, framework="pt") as file:
            facts = json.loads(file.metadata()["facts"])
            tensors = {name: file.get_tensor(name).numpy() for name in TENSORS}
            expected, rows, sums = facts["key"], facts["rows"], facts["sha256"]
            index_sum, seconds = facts["index_sha256"], float(facts["seconds"])
    except FileNotFoundError as error:
        raise _damaged(index.data, "it is missing beside its table") from error
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise _damaged(index.data, " ".join(str(error).split())) from error
    if expected != key:
        raise _damaged(index.data, "it was written for another backbone or image size")
    if not rows == len(index.keys) == len(tensors["summary"]) == len(tensors["mean_dense"]):
        raise _damaged(index.data, f"{rows} rows were written, its table has {len(index.keys)}")
    if verified and index_sum != _sha256_of_index(index.keys, index.token_rows):
        raise _damaged(index.path, "its lines have changed")
    for name in verified:
        if sums[name] != _sha256_of_tensor(tensors[name]):
            raise _damaged(index.data, f"the bytes of {name!r} have changed")
    return Part(index.keys, index.token_rows, tensors, seconds, index.path.stem)


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(f"feature part {str(path)!r} is damaged ({reason})")


def _sha256_of_tensor(tensor: np.ndarray) -> str:
    digest = hashlib.sha256(f"{tensor.dtype} {tensor.shape}".encode())
    digest.update(tensor.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _sha256_of_index(keys: Sequence[Any], token_rows: Mapping[str, np.ndarray]) -> str:
    rows = [[int(row) for row in token_rows[name]] for name in TOKENS]
    return hashlib.sha256(json.dumps([[list(key) for key in keys], rows]).encode()).hexdigest()

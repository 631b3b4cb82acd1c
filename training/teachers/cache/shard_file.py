"""One shard on disk: rows of features with the number, the box and a checksum of each; whole or not there at all."""

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from training.errors import UserError

NUMBERS, BOXES, CHECKSUMS = "numbers", "boxes", "checksums"
_OWN = (NUMBERS, BOXES, CHECKSUMS)
# How safetensors says that a disk is full: it has no error of its own for that.
_FULL = ("No space left", "os error 28", "os error 122")
_CURE = "delete it and run python -m training.cache_teachers again, which writes what is missing"


def checksum(row: Tensor) -> int:
    """CRC-32 over the bytes of a tensor."""
    return zlib.crc32(row.contiguous().flatten().view(torch.uint8).numpy().data)


def write_shard(path: Path, rows: Mapping[str, Tensor], numbers: Tensor, boxes: Tensor, facts: dict[str, Any]) -> None:
    """Write a shard beside its place and rename it, so that a kill leaves no part of one.

    Args:
        path: of the shard.
        rows: features `(R, ...)` by "teacher/tokens", on the CPU.
        numbers: int64 `(R,)`, see `ViewBatch.numbers`.
        boxes: int64 `(R, 5)`, see `ViewBatch.boxes`.
        facts: JSON-able.

    Raises:
        UserError: the disk is full; shards that are complete stay.
    """
    sums = torch.tensor([[checksum(row) for row in rows[name]] for name in sorted(rows)])
    tensors = {**rows, NUMBERS: numbers, BOXES: boxes, CHECKSUMS: sums.T}  # checksums int64 (R, names)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file(
            {name: part.contiguous() for name, part in tensors.items()}, draft, metadata={"facts": json.dumps(facts)}
        )
        draft.chmod(0o644)  # safetensors writes for its owner alone; a cache may be shared
        draft.replace(path)
    except (OSError, SafetensorError) as error:
        draft.unlink(missing_ok=True)
        if not any(words in str(error) for words in _FULL):
            raise
        raise UserError(
            f"no space left for {str(path)!r}: free some and run the same command again, complete shards stay"
        ) from error


class ShardFile:
    """An open shard; rows are read from the mapped file when they are asked for.

    Attributes:
        numbers: of the rows, int64 `(R,)`.
        names: of the features, "teacher/tokens", sorted.
        facts: as they were written.

    Raises:
        UserError: the file is missing, cut off or no shard.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = safe_open(path, framework="pt")
            self.facts: dict[str, Any] = json.loads(self._file.metadata()["facts"])
            self.numbers = self._file.get_tensor(NUMBERS)
            self._boxes, self._checksums = (self._file.get_tensor(name) for name in (BOXES, CHECKSUMS))
            self.names = sorted(set(self._file.keys()) - set(_OWN))
        except FileNotFoundError as error:
            raise UserError(f"cache shard {str(path)!r} is missing: {_CURE}") from error
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"cache shard {str(path)!r} is damaged ({error}): {_CURE}") from error

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of the features `(R, ...)` by "teacher/tokens"."""
        return {name: tuple(self._file.get_slice(name).get_shape()) for name in self.names}

    def read(
        self, names: Sequence[str], rows: Sequence[int], numbers: Sequence[int], boxes: Tensor
    ) -> list[dict[str, Tensor]]:
        """Some features of some rows.

        Args:
            names: of the features.
            rows: positions in the shard.
            numbers: of the views that are expected there.
            boxes: int64 `(len(rows), 5)`, the boxes that are expected there.

        Raises:
            UserError: another view or another box lies there, or bytes of a row have changed.
        """
        found = []
        for row, number, box in zip(rows, numbers, boxes, strict=True):
            if int(self.numbers[row]) != number:
                raise UserError(
                    f"cache shard {str(self._path)!r} holds view {int(self.numbers[row])} where view {number} should "
                    f"be; it is a file of another cache: {_CURE}"
                )
            if not torch.equal(self._boxes[row], box):
                raise UserError(
                    f"cache shard {str(self._path)!r} holds view {number} of the box {self._boxes[row].tolist()} (top, "
                    f"left, height, width, flipped), but this run draws {box.tolist()}: the random numbers of this "
                    "installation are others than those of the one that wrote the cache"
                )
            parts = {name: self._file.get_slice(name)[row : row + 1][0] for name in names}
            for name, part in parts.items():
                if checksum(part) != int(self._checksums[row, self.names.index(name)]):
                    raise UserError(f"cache shard {str(self._path)!r} is damaged (row {row} has changed): {_CURE}")
            found.append(parts)
        return found

    def digest(self) -> str:
        """Equal if and only if numbers, boxes and features are."""
        value = zlib.crc32(self.numbers.numpy().data)
        value = zlib.crc32(self._boxes.numpy().data, value)
        return f"{zlib.crc32(self._checksums.contiguous().numpy().data, value):08x}"

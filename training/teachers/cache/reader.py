"""Reading a feature cache in training: the teachers' answers for a batch, found by its view numbers."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.corpus.cache import ReadCache
from training.errors import UserError
from training.loader import ViewBatch
from training.sampling import Groups
from training.teachers.cache.codec_file import read_codecs
from training.teachers.cache.layout import Layout, Shard
from training.teachers.cache.record import read_record, refuse_differences
from training.teachers.cache.shard_file import ShardFile
from training.teachers.encoding import TeacherOutput

OPEN_SHARDS = 64  # twice the blocks of a shuffle window; an open shard costs its numbers, boxes and checksums: 60 kB


class FeatureCache:
    """A complete cache, open for reading. Make one with `open`.

    Shards are mapped into memory, a limited number at a time: what it takes does not grow with the corpus.

    Attributes:
        record: contents of cache.json.
    """

    def __init__(
        self, folder: Path, record: dict[str, Any], names: Sequence[str], groups: Groups, device: torch.device
    ) -> None:
        self.folder, self.record = folder, record
        self._names, self._device = list(names), device
        self._layouts = {int(size): Layout(groups, int(size), rows) for size, rows in record["rows_per_shard"].items()}
        self._codecs = read_codecs(folder, record)
        for codecs in self._codecs.values():
            for codec in codecs.values():
                codec.to(device)
        self._shards = ReadCache(OPEN_SHARDS)

    @classmethod
    def open(cls, folder: Path, key: Mapping[str, Any], groups: Groups, device: torch.device) -> "FeatureCache":
        """Open a cache for a run.

        Args:
            folder: of the cache.
            key: `cache_key` of the run.
            groups: the frames of the run.
            device: on which features are wanted.

        Raises:
            UserError: no cache, an incomplete one, or one of other settings.
        """
        record = read_record(folder)
        refuse_differences(folder, "in this run", record["key"], key)
        if not record["complete"]:
            raise UserError(
                f"feature cache {str(folder)!r} is not complete: repeat the training.cache_teachers command that began "
                "it, it writes what is missing"
            )
        names = [f"{teacher}/{tokens}" for teacher, facts in key["teachers"].items() for tokens in facts["tokens"]]
        return cls(folder, record, names, groups, device)

    @property
    def sha256(self) -> str:
        """Equal if and only if all features and what decodes them are."""
        return str(self.record["content_sha256"])

    def read(self, batch: ViewBatch, image_size: int) -> dict[str, TeacherOutput]:
        """What the teachers said of the views of a batch, float32, by teacher.

        Raises:
            UserError: a shard is missing, damaged or of other views.
        """
        if batch.boxes is None:
            raise ValueError("only views of the loader, which tell their boxes, can be looked up")
        places: dict[Shard, list[tuple[int, int]]] = defaultdict(list)  # shard -> (place in the batch, row)
        numbers = batch.numbers.tolist()
        for place, number in enumerate(numbers):
            shard, row = self._layouts[image_size].locate(number)
            places[shard].append((place, row))
        rows: list[dict[str, Tensor]] = [{}] * len(numbers)
        for shard, found in places.items():
            file = self._shards.get(shard, lambda shard=shard: ShardFile(shard.path(self.folder)))  # type: ignore[misc]
            own = [place for place, _ in found]
            wanted = [numbers[place] for place in own]
            read = file.read(self._names, [row for _, row in found], wanted, batch.boxes[own])
            for place, features in zip(own, read, strict=True):
                rows[place] = features
        outputs: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for name in self._names:
            teacher, _, tokens = name.rpartition("/")
            stored = torch.stack([row[name] for row in rows]).to(self._device)
            outputs[teacher][tokens] = self._codecs[image_size][name].decode(stored)
        return {
            teacher: TeacherOutput(summary=parts.get("summary"), dense=parts.get("dense"))
            for teacher, parts in outputs.items()
        }

    def describe(self) -> list[str]:
        """Lines about it to print before training."""
        form, views = self.record["form"], self.record["key"]["views"]["views_per_frame"]
        lines = [f"targets   from cache {self.folder.name}: {form}, {views} views per frame"]
        return lines + format_fidelity(self.record)


def format_fidelity(record: Mapping[str, Any]) -> list[str]:
    """A line for each kind of token at each size: what a cache keeps of it."""
    lines = []
    for size, features in record["features"].items():
        for name, facts in features.items():
            energy = f" (energy {facts['energy']:.4f})" if "energy" in facts else ""
            lines.append(
                f"          {size} px {name}: {facts['bytes_per_view']} bytes{energy}, "
                f"cosine {facts['cosine']:.6f}, explained variance {facts['explained_variance']:.6f}"
            )
    return lines

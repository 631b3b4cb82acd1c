"""Writing a feature cache: any number of processes, each its own shards; run again, what is missing."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm import tqdm

from training.errors import UserError
from training.loader import ViewBatch
from training.run_folder import write_json
from training.teachers.cache.calibration import fit_codecs
from training.teachers.cache.codec_file import CODECS_FILE, Codecs, make_codecs, read_codecs, write_codecs
from training.teachers.cache.estimate import OVERHEAD_BYTES, check_space
from training.teachers.cache.fidelity import Fidelity, measure
from training.teachers.cache.layout import Layout, Shard
from training.teachers.cache.live import LiveFeatures, keys_of
from training.teachers.cache.record import RECORD_FILE
from training.teachers.cache.shard_file import ShardFile, write_shard


@dataclass
class CacheWriter:
    """Writes what is missing of a cache.

    Attributes:
        folder: of the cache; cache.json is there.
        record: contents of cache.json.
        live: the teachers.
        accelerator: its processes divide the shards.
        batch_frames: most frames that teachers are asked about at once.
    """

    folder: Path
    record: dict[str, Any]
    live: LiveFeatures
    accelerator: Accelerator
    batch_frames: int

    def __post_init__(self) -> None:
        groups, rows = self.live.views.groups, self.record["rows_per_shard"]
        layouts = [Layout(groups, int(size), count) for size, count in rows.items()]
        turns = range(self.record["key"]["views"]["views_per_frame"])
        self.shards = [
            layout.shard(turn, index) for layout in layouts for turn in turns for index in range(layout.num_shards)
        ]
        processes, count = self.accelerator.num_processes, len(self.shards)
        if processes > count:
            raise UserError(
                f"{processes} processes were started, but the cache has only {count} shards to write: start at most "
                f"{count}, or lower cache.shard_mb"
            )

    def num_bytes(self, shards: Iterable[Shard]) -> int:
        """What shards take on the disk."""
        per_view = {size: sum(own.values()) + OVERHEAD_BYTES for size, own in self.record["bytes_per_view"].items()}
        return sum(len(shard) * per_view[str(shard.size)] for shard in shards)

    def write(self) -> int:
        """Write all that is missing, each process its share; how many views all of them wrote."""
        codecs = self._codecs()
        self._codecs_sha256 = _sha256(self.folder / CODECS_FILE)
        missing = [shard for shard in self.shards if not self._is_complete(shard)]
        check_space(self.folder, self.num_bytes(missing), f"{sum(map(len, missing))} views are missing")
        # All have looked before the first writes, so that all divide the same list.
        self.accelerator.wait_for_everyone()
        own = missing[self.accelerator.process_index :: self.accelerator.num_processes]
        groups = self.live.views.groups
        answers = self.live.ask(chain.from_iterable(keys_of(groups, shard, self.batch_frames) for shard in own))
        with tqdm(
            total=sum(map(len, own)), desc="caching", unit="view", disable=not self.accelerator.is_main_process
        ) as bar:
            for shard in own:
                self._write_shard(shard, codecs[shard.size], answers, bar)
        self.accelerator.wait_for_everyone()
        return sum(map(len, missing))

    def finish(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Say in cache.json that the cache is complete and how true it is; the record. The main process calls it."""
        digest, num_bytes = hashlib.sha256(_sha256(self.folder / CODECS_FILE).encode()), 0
        sums: dict[int, dict[str, Fidelity]] = {}
        for shard in self.shards:
            file = ShardFile(shard.path(self.folder))
            digest.update(f"{shard.name} {file.digest()}\n".encode())
            num_bytes += shard.path(self.folder).stat().st_size
            own = sums.setdefault(shard.size, {})
            for name, part in file.facts["fidelity"].items():
                own[name] = own.get(name, Fidelity()) + Fidelity(**part)
        codecs = read_codecs(self.folder, self.record)
        features = {
            str(size): {
                name: {
                    "bytes_per_view": self.record["bytes_per_view"][str(size)][name],
                    **codecs[size][name].facts(),
                    **fidelity.measures(),
                }
                for name, fidelity in own.items()
            }
            for size, own in sums.items()
        }
        self.record |= {"complete": True, "content_sha256": digest.hexdigest(), "bytes": num_bytes}
        self.record |= {"shards": len(self.shards), "features": features, **facts}
        write_json(self.folder / RECORD_FILE, self.record)
        return self.record

    def _codecs(self) -> dict[int, Codecs]:
        """Those on disk; in a new cache they are fitted first, and written by the main process."""
        fitted = (self.folder / CODECS_FILE).is_file()
        self.accelerator.wait_for_everyone()
        if not fitted:
            codecs = make_codecs(self.record)
            fit_codecs(codecs, self.live, self.record["calibration_frames"], self.accelerator)
            if self.accelerator.is_main_process:
                write_codecs(self.folder, codecs)
            self.accelerator.wait_for_everyone()
        # Read back also by the process that wrote them: all have the same bits.
        codecs = read_codecs(self.folder, self.record)
        for codec in chain.from_iterable(own.values() for own in codecs.values()):
            codec.to(self.accelerator.device)
        return codecs

    def _is_complete(self, shard: Shard) -> bool:
        """Whether a shard is there, readable and of these codecs; others are written anew."""
        path = shard.path(self.folder)
        if not path.exists():
            return False
        try:
            file = ShardFile(path)
        except UserError as error:
            tqdm.write(f"written anew: {error}")
            return False
        return file.facts["codecs_sha256"] == self._codecs_sha256 and len(file.numbers) == len(shard)

    @torch.no_grad()
    def _write_shard(
        self, shard: Shard, codecs: Codecs, answers: Iterator[tuple[ViewBatch, dict[str, Tensor]]], bar: tqdm
    ) -> None:
        """Encode the next answers, which are those of this shard, and write them."""
        rows: dict[str, list[Tensor]] = {name: [] for name in codecs}
        fidelity = {name: Fidelity() for name in codecs}
        numbers: list[Tensor] = []
        boxes: list[Tensor] = []
        done = 0
        while done < len(shard):
            batch, features = next(answers)
            for name, codec in codecs.items():
                stored = codec.encode(features[name])
                fidelity[name] += measure(codec, features[name], stored)
                rows[name].append(stored.cpu())
            assert batch.boxes is not None  # the loader's views have them
            numbers.append(batch.numbers)
            boxes.append(batch.boxes)
            done += len(batch.numbers)
            bar.update(len(batch.numbers))
        facts = {
            "codecs_sha256": self._codecs_sha256,
            "fidelity": {name: each.to_dict() for name, each in fidelity.items()},
        }
        features = {name: torch.cat(parts) for name, parts in rows.items()}
        write_shard(shard.path(self.folder), features, torch.cat(numbers), torch.cat(boxes), facts)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

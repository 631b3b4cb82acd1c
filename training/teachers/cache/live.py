"""The teachers' answers for fixed views in the order of their rows: what a cache is filled with."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from training.loader import TrainingViews, ViewBatch, join_batches
from training.objectives.distillation import DistillationObjective
from training.sampling import Groups
from training.teachers.cache.layout import Shard

Key = tuple[int, int, int]  # first row of a part (see `Groups.part_at`), turn, side of the student's input in pixels


def keys_of(groups: Groups, shard: Shard, most_frames: int) -> Iterator[list[Key]]:
    """The parts of a shard in batches of at most `most_frames` frames, but at least one part."""
    keys: list[Key] = []
    row = begun = shard.start
    while row < shard.stop:
        _, part = groups.part_at(row)
        if keys and row + len(part.frames) - begun > most_frames:
            yield keys
            keys, begun = [], row
        keys.append((row, shard.turn, shard.size))
        row += len(part.frames)
    if keys:
        yield keys


@dataclass(frozen=True)
class LiveFeatures:
    """Asks the teachers about fixed views.

    Attributes:
        views: the frames.
        objective: whose teachers are asked.
        names: of the wanted features, "teacher/tokens", by side of the student's input in pixels.
        device: where the teachers compute.
    """

    views: TrainingViews
    objective: DistillationObjective
    names: Mapping[int, Sequence[str]]
    device: torch.device

    @torch.no_grad()
    def ask(self, batches: Iterator[list[Key]]) -> Iterator[tuple[ViewBatch, dict[str, Tensor]]]:
        """For each list of keys of one size the views, and their features `(B, ...)`, float32 on the device."""
        pixels = {size: self.objective.view_size(size) for size in self.names}
        loader = DataLoader(
            _FixedViews(self.views, pixels),
            batch_sampler=batches,
            num_workers=self.views.config.workers,
            collate_fn=_join,
        )
        for batch in loader:
            size = batch.image_size
            outputs = self.objective.targets(batch.images.to(self.device), size, shared=batch.shared.to(self.device))
            features = {}
            for name in self.names[size]:
                teacher, _, tokens = name.rpartition("/")
                features[name] = getattr(outputs[teacher], tokens)
            yield batch, features


class _FixedViews(Dataset):
    """Views by their key."""

    def __init__(self, views: TrainingViews, pixels: Mapping[int, int]) -> None:
        self._views, self._pixels = views, pixels

    def __getitem__(self, key: Key) -> ViewBatch:
        row, turn, size = key
        _, part = self._views.groups.part_at(row)
        return self._views.fixed_view(part, turn, self._pixels[size])._replace(image_size=size)


def _join(parts: list[ViewBatch]) -> ViewBatch:
    return join_batches(parts)._replace(image_size=parts[0].image_size)

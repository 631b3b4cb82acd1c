"""Which frames come next: a pure function of (seed, epoch, position, rank, world size); resuming needs one number.

The same function serves local folders, fsspec URLs and the Hub. There is no shuffle buffer on purpose: what is in it
would be lost when a run is resumed. `BlockShuffle` mixes as widely and reads as sequentially.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from training.corpus import Corpus
from training.errors import UserError
from training.sampling import BlockShuffle, Groups, Part, epoch_offset
from training.views import View, ViewConfig, all_valid, training_view, whole_mask, whole_view


@dataclass(frozen=True)
class DataConfig:
    """Where the frames come from and how they are grouped."""

    corpus: str = "???"  # folder written by training.curate, fsspec URL, or hf://datasets/ORG/NAME[@revision]
    frames_per_clip: int = 2  # frames of one clip that share a view; 1 draws every frame alone
    clip_stride: int = 0  # stored frames from one frame of a group to the next; 0 spreads the group over its clip
    shuffle_block: int = 64  # neighbouring groups kept together on disk reads; larger reads more sequentially
    shuffle_window: int = 32  # blocks mixed with each other; window * block groups are shuffled as one
    views_per_frame: int = 0  # 0 draws new views every epoch; K repeats K fixed ones, whose targets are remembered
    target_memory_gb: float = 2.0  # main memory for the targets of fixed views; what does not fit is asked again
    workers: int = 0  # loader processes; they do not change what is drawn
    held_out_frames: int = 128  # frames of held-out cases that the agreement with teachers is measured on
    views: ViewConfig = field(default_factory=ViewConfig)

    def __post_init__(self) -> None:
        """Refuse counts below one."""
        for name in ("frames_per_clip", "shuffle_block", "shuffle_window", "held_out_frames"):
            if getattr(self, name) < 1:
                raise UserError(f"data.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("workers", "views_per_frame", "target_memory_gb", "clip_stride"):
            if getattr(self, name) < 0:
                raise UserError(f"data.{name} must not be negative, got {getattr(self, name)}")


class ViewBatch(NamedTuple):
    """Views of frames. Equal numbers, equal views."""

    images: Tensor  # float32 (B, 3, V, V) in [0, 1]
    numbers: Tensor  # int64 (B,)
    valid: Tensor  # bool (B, V, V): the pixels that count; all True where a clip has no mask

    def masked(self, device: torch.device | str = "cpu") -> Tensor | None:
        """`valid` on a device, or `None` when every pixel counts: then nothing is sent, and nobody need look again."""
        return None if bool(self.valid.all()) else self.valid.to(device)


class TrainingViews(Dataset):
    """Sample number -> the views of one group of frames, epoch after epoch.

    Which frames a sample holds, and what their views look like, is a pure function of the sample number and the
    settings. See `Groups` for the groups and the weights, `BlockShuffle` for their order.
    """

    def __init__(self, corpus: Corpus, config: DataConfig, size: int, seed: int) -> None:
        self.corpus, self.config, self.size, self.seed = corpus, config, size, seed
        self.clips = corpus.clips("train")
        segments = corpus.segments("train")
        if not segments.num_frames:
            raise UserError("the corpus has no clip in its train split: curate more cases, or lower held_out_fraction")
        self.groups = Groups(segments, config.frames_per_clip, config.clip_stride)
        if not self.groups.draws:
            raise UserError(
                "the weights of the train split are so small that an epoch has no frame: raise them in the manifest"
            )
        self._order: tuple[int, BlockShuffle] | None = None

    def _draw(self, sample: int) -> tuple[int, int]:
        """Epoch of a sample, and which of the epoch's groups it is."""
        epoch, place = divmod(sample, self.groups.draws)
        if self._order is None or self._order[0] != epoch:
            block, window = self.config.shuffle_block, self.config.shuffle_window
            self._order = (epoch, BlockShuffle(self.groups.draws, self.seed, epoch, block, window))
        return epoch, self._order[1][place]

    def parts(self, sample: int) -> list[Part]:
        """The frames of a sample."""
        epoch, number = self._draw(sample)
        return self.groups.draw(number, epoch_offset(self.seed, epoch))

    def __getitem__(self, sample: int) -> ViewBatch:
        epoch, number = self._draw(sample)
        views: list[View] = []
        numbers: list[int] = []
        for part in self.groups.draw(number, epoch_offset(self.seed, epoch)):
            if fixed := self.config.views_per_frame:  # one of K views in turn, that of these frames whoever draws them
                turn, first = epoch % fixed, part.frames[0]
                numbers += [turn * self.groups.num_frames + frame for frame in part.frames]
            else:  # a new view for every draw
                turn, first = epoch, number * self.groups.size + part.slot
                start = epoch * self.groups.draws * self.groups.size + first
                numbers += range(start, start + len(part.positions))
            state = np.random.SeedSequence([self.seed, turn, first, 2]).generate_state(1, np.uint64)
            generator = torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))
            clip = self.clips[part.clip]
            frames, mask = self.corpus.read(clip, part.positions), self.corpus.mask(clip)
            views.append(training_view(frames, self.size, self.config.views, generator, mask))
        images, valid = zip(*views, strict=True)
        return ViewBatch(torch.cat(images), torch.tensor(numbers), _join_valid(valid))


class _Batches(Sampler[range]):
    """Sample numbers of each step of one rank."""

    def __init__(self, first_step: int, steps: int, size: int, rank: int, world_size: int) -> None:
        self._steps, self._size, self._rank, self._world_size = range(first_step, steps), size, rank, world_size

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[range]:
        for step in self._steps:
            first = (step * self._world_size + self._rank) * self._size
            yield range(first, first + self._size)


def training_batches(
    views: TrainingViews, first_step: int, steps: int, groups_per_batch: int, rank: int, world_size: int
) -> Iterator[ViewBatch]:
    """Batches of steps `first_step` to `steps - 1` for one rank, each of `groups_per_batch` groups of k frames.

    Step s of rank r takes samples (s * world_size + r) * groups_per_batch onwards, whatever ran before and however many
    workers run: each makes whole batches, which come back in order.
    """
    loader = DataLoader(
        views,
        batch_sampler=_Batches(first_step, steps, groups_per_batch, rank, world_size),  # type: ignore[arg-type]
        num_workers=views.config.workers,
        collate_fn=_join,
        # Its own generator: starting the iterator would otherwise draw from the global one and shift dropout on resume.
        generator=torch.Generator().manual_seed(0),
    )
    yield from loader


def _join(groups: list[ViewBatch]) -> ViewBatch:
    images, numbers, valid = zip(*groups, strict=True)
    return ViewBatch(torch.cat(images), torch.cat(numbers), _join_valid(valid))


def _join_valid(parts: Sequence[Tensor]) -> Tensor:
    """Masks `(T, V, V)` end to end; the usual case, all valid, is not copied out."""
    if all(part.stride() == (0, 0, 0) and bool(part[0, 0, 0]) for part in parts):
        return all_valid(sum(len(part) for part in parts), parts[0].shape[-1])
    return torch.cat(list(parts))


def held_out_views(corpus: Corpus, count: int, size: int) -> ViewBatch:
    """Whole frames of held-out cases, spread evenly over clips and time, at most `count`, numbered from 0.

    Raises:
        UserError: when the corpus holds out no case.
    """
    clips, segments = corpus.clips("held_out"), corpus.segments("held_out")
    total = segments.num_frames
    if not total:
        raise UserError("the corpus has no held-out case: curate at least two cases, or name a folder 'test'")
    images, valid = [], []
    for number, position in segments.locate(np.linspace(0, total - 1, min(count, total)).round().astype(np.int64)):
        clip = clips[number]
        images.append(whole_view(corpus.read(clip, [position]), size))
        valid.append(whole_mask(corpus.mask(clip), size)[None])
    return ViewBatch(torch.cat(images), torch.arange(len(images)), _join_valid(valid))

"""Which frames come next: a pure function of (seed, epoch, position, rank, world size); resuming needs one number."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from training.corpus import Clip, Corpus
from training.errors import UserError
from training.views import ViewConfig, training_view, whole_view


@dataclass(frozen=True)
class DataConfig:
    """Where the frames come from and how they are grouped."""

    corpus: str = "???"  # folder written by training.curate
    frames_per_clip: int = 2  # frames of one clip that share a view; 1 draws every frame alone
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
        for name in ("workers", "views_per_frame", "target_memory_gb"):
            if getattr(self, name) < 0:
                raise UserError(f"data.{name} must not be negative, got {getattr(self, name)}")


@dataclass(frozen=True)
class FrameRef:
    """One frame of the corpus: which clip of the list, and which of its frames."""

    clip: int
    position: int


def all_frames(clips: Sequence[Clip]) -> list[FrameRef]:
    """Every frame of every clip, in order."""
    return [FrameRef(number, position) for number, clip in enumerate(clips) for position in range(clip.num_frames)]


def group_frames(clips: Sequence[Clip], frames_per_clip: int) -> list[tuple[FrameRef, ...]]:
    """Cut clips into groups of exactly `frames_per_clip` frames: every batch has one shape and no frame is lost.

    A clip of n frames gives n // k groups whose frames are spread over it; what is left of several clips is packed
    together (such frames get views of their own); the last group is filled up from the beginning.
    """
    groups: list[tuple[FrameRef, ...]] = []
    rest: list[FrameRef] = []
    for number, clip in enumerate(clips):
        count = clip.num_frames // frames_per_clip
        for start in range(count):
            groups.append(tuple(FrameRef(number, start + count * i) for i in range(frames_per_clip)))
        rest += [FrameRef(number, position) for position in range(count * frames_per_clip, clip.num_frames)]
    if missing := -len(rest) % frames_per_clip:
        frames = all_frames(clips)
        rest += [frames[i % len(frames)] for i in range(missing)]
    groups += [tuple(rest[i : i + frames_per_clip]) for i in range(0, len(rest), frames_per_clip)]
    return groups


def epoch_order(count: int, seed: int, epoch: int, block: int, window: int) -> np.ndarray:
    """Block shuffle: a permutation of `range(count)`, int64, that is a pure function of its arguments.

    Blocks of `block` neighbours are permuted, then the items inside each window of `window` blocks: nearly as random as
    a full shuffle, while a reader touches only a window's worth of neighbouring rows at a time.
    """
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))
    blocks = [np.arange(start, min(start + block, count)) for start in range(0, count, block)]
    order = generator.permutation(len(blocks))
    parts = []
    for start in range(0, len(blocks), window):
        items = np.concatenate([blocks[i] for i in order[start : start + window]])
        parts.append(generator.permutation(items))
    return np.concatenate(parts)


class ViewBatch(NamedTuple):
    """Views in [0, 1], float32 `(B, 3, V, V)`, and the number of each, int64 `(B,)`: equal numbers, equal views."""

    images: Tensor
    numbers: Tensor


class TrainingViews(Dataset):
    """Sample number -> the views of one group of frames, epoch after epoch."""

    def __init__(self, corpus: Corpus, config: DataConfig, size: int, seed: int) -> None:
        self.corpus, self.config, self.size, self.seed = corpus, config, size, seed
        self.clips = corpus.clips("train")
        if not self.clips:
            raise UserError("the corpus has no clip in its train split: curate more cases, or lower held_out_fraction")
        self.groups = group_frames(self.clips, config.frames_per_clip)
        self._order: tuple[int, np.ndarray] | None = None

    def _locate(self, sample: int) -> tuple[int, int]:
        """Epoch and group number of a sample."""
        epoch, position = divmod(sample, len(self.groups))
        if self._order is None or self._order[0] != epoch:
            block, window = self.config.shuffle_block, self.config.shuffle_window
            self._order = (epoch, epoch_order(len(self.groups), self.seed, epoch, block, window))
        return epoch, int(self._order[1][position])

    def __getitem__(self, sample: int) -> ViewBatch:
        epoch, number = self._locate(sample)
        # Which of its views a group shows: a new one each epoch, or one of K in turn.
        turn = epoch % self.config.views_per_frame if self.config.views_per_frame else epoch
        group = self.groups[number]
        views: list[Tensor] = []
        for clip in dict.fromkeys(ref.clip for ref in group):
            frames = self.corpus.read(self.clips[clip], [ref.position for ref in group if ref.clip == clip])
            state = np.random.SeedSequence([self.seed, turn, number, clip]).generate_state(1, np.uint64)
            generator = torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))
            views.append(training_view(frames, self.size, self.config.views, generator))
        first = (turn * len(self.groups) + number) * len(group)
        return ViewBatch(torch.cat(views), torch.arange(first, first + len(group)))


def training_batches(
    views: TrainingViews, first_step: int, steps: int, groups_per_batch: int, rank: int, world_size: int
) -> Iterator[ViewBatch]:
    """Batches of steps `first_step` to `steps - 1` for one rank, each of `groups_per_batch` groups of k frames.

    Step s of rank r takes samples (s * world_size + r) * groups_per_batch onwards, whatever ran before.
    """
    batches = [
        range((step * world_size + rank) * groups_per_batch, (step * world_size + rank + 1) * groups_per_batch)
        for step in range(first_step, steps)
    ]
    loader = DataLoader(
        views,
        batch_sampler=batches,  # type: ignore[arg-type]
        num_workers=views.config.workers,
        collate_fn=_join,
        # Its own generator: starting the iterator would otherwise draw from the global one and shift dropout on resume.
        generator=torch.Generator().manual_seed(0),
    )
    yield from loader


def _join(groups: list[ViewBatch]) -> ViewBatch:
    return ViewBatch(torch.cat([group.images for group in groups]), torch.cat([group.numbers for group in groups]))


def held_out_views(corpus: Corpus, count: int, size: int) -> Tensor:
    """Whole frames of held-out cases, spread evenly over clips and time: float32 `(N, 3, size, size)`, N <= count.

    Raises:
        UserError: when the corpus holds out no case.
    """
    clips = corpus.clips("held_out")
    refs = all_frames(clips)
    if not refs:
        raise UserError("the corpus has no held-out case: curate at least two cases, or name a folder 'test'")
    chosen = [refs[i] for i in np.linspace(0, len(refs) - 1, min(count, len(refs))).round().astype(int)]
    return torch.cat([whole_view(corpus.read(clips[ref.clip], [ref.position]), size) for ref in chosen])

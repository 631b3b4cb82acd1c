"""Which frames come next: a pure function of (seed, epoch, position, rank, world size); resuming needs one number.

The same function serves local folders, fsspec URLs and the Hub. There is no shuffle buffer on purpose: what is in it
would be lost when a run is resumed. `BlockShuffle` mixes as widely and reads as sequentially.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from training.corpus import Corpus
from training.corpus.manifest import Clip
from training.errors import UserError
from training.sampling import BlockShuffle, Groups, Part, epoch_offset
from training.views import Crops, ViewConfig, all_valid, training_view, whole_mask, whole_view


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
    """Views of frames, and what is known of the frames. Equal numbers, equal views."""

    images: Tensor  # float32 (B, 3, V, V) in [0, 1]
    numbers: Tensor  # int64 (B,), negative for held-out frames; stays on the CPU, where it is looked up
    valid: Tensor  # bool (B, V, V): the pixels that count; all True where a clip has no mask
    clips: Tensor  # int64 (B,): the clip of a frame, as a position in its split
    sources: Tensor  # int64 (B,): the source of a frame, as a position in `Corpus.sources`
    procedures: Tensor  # int64 (B,): its procedure, as a position in `Corpus.procedures`; -1 for none or several
    shared: Tensor  # int64 (B,): frames of one number are of one clip and share crop, flip and color change
    crops: tuple[Tensor, ...] = ()  # further views, one float32 (B, count, 3, S, S) for each `Crops` asked for
    image_size: int | None = None  # side in pixels at which the student sees the images; None: its own size
    boxes: Tensor | None = None  # int64 (B, 5): the `Box` of each view; None of whole frames; stays on the CPU

    def to(self, device: torch.device | str) -> "ViewBatch":
        """The batch on a device. Where every pixel counts, `valid` is not sent but made there."""
        count, size = len(self.valid), self.valid.shape[-1]
        valid = all_valid(count, size, device) if self.all_valid else self.valid.to(device, non_blocking=True)
        images = self.images.to(device, non_blocking=True)
        clips, sources, procedures, shared = (
            part.to(device, non_blocking=True) for part in (self.clips, self.sources, self.procedures, self.shared)
        )
        crops = tuple(part.to(device, non_blocking=True) for part in self.crops)
        return self._replace(
            images=images,
            valid=valid,
            clips=clips,
            sources=sources,
            procedures=procedures,
            shared=shared,
            crops=crops,
        )

    def split(self, size: int) -> list["ViewBatch"]:
        """Batches of at most `size` frames, in order."""
        rows = [slice(start, start + size) for start in range(0, len(self.images), size)]
        return [
            self._replace(
                images=self.images[own],
                numbers=self.numbers[own],
                valid=self.valid[own],
                clips=self.clips[own],
                sources=self.sources[own],
                procedures=self.procedures[own],
                shared=self.shared[own],
                crops=tuple(part[own] for part in self.crops),
                boxes=None if self.boxes is None else self.boxes[own],
            )
            for own in rows
        ]

    @property
    def all_valid(self) -> bool:
        """Whether every pixel counts."""
        return self.valid.stride() == (0, 0, 0) or bool(self.valid.all())

    @property
    def mask(self) -> Tensor | None:
        """`valid`, or `None` when every pixel counts: then nobody need look again."""
        return None if self.all_valid else self.valid


class TrainingViews(Dataset):
    """Sample number -> the views of one group of frames, epoch after epoch.

    Which frames a sample holds, and what their views look like, is a pure function of the sample number and the
    settings. See `Groups` for the groups and the weights, `BlockShuffle` for their order.
    """

    def __init__(self, corpus: Corpus, config: DataConfig, size: int, seed: int, crops: Sequence[Crops] = ()) -> None:
        self.corpus, self.config, self.size, self.seed = corpus, config, size, seed
        self.crops = tuple(crops)
        self._codes = ClipCodes(corpus)
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

    def __getitem__(self, key: int | tuple[int, int]) -> ViewBatch:
        """The group of a sample number, with views of `size` pixels or of the size given beside the number."""
        sample, size = key if isinstance(key, tuple) else (key, self.size)
        epoch, number = self._draw(sample)
        batches = []
        for part in self.groups.draw(number, epoch_offset(self.seed, epoch)):
            if fixed := self.config.views_per_frame:  # one of K views in turn, that of these frames whoever draws them
                batches.append(self.fixed_view(part, epoch % fixed, size))
            else:  # a new view for every draw
                first = number * self.groups.size + part.slot
                start = epoch * self.groups.draws * self.groups.size + first
                numbers = list(range(start, start + len(part.positions)))
                batches.append(self._view(part, (epoch, first), numbers, size))
        return join_batches(batches)

    def fixed_view(self, part: Part, turn: int, size: int) -> ViewBatch:
        """View number `turn` of the frames of a part, with `size` pixels: the same whoever draws it, and when."""
        numbers = [turn * self.groups.num_frames + frame for frame in part.frames]
        return self._view(part, (turn, part.frames[0]), numbers, size)

    def _view(self, part: Part, draw: tuple[int, int], numbers: list[int], size: int) -> ViewBatch:
        """The view of a part that the numbers of its draw (turn or epoch, first frame) stand for."""
        state = np.random.SeedSequence([self.seed, *draw, 2]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))
        clip = self.clips[part.clip]
        frames, mask = self.corpus.read(clip, part.positions), self.corpus.mask(clip)
        view = training_view(frames, size, self.config.views, generator, mask)
        facts = torch.tensor([(part.clip, *self._codes.of(clip), numbers[0])] * len(frames))
        clips, sources, procedures, shared = facts.unbind(1)
        return ViewBatch(
            view.images,
            torch.tensor(numbers),
            view.valid,
            clips,
            sources,
            procedures,
            shared,
            tuple(_further_views(frames, wanted, self.config.views, generator) for wanted in self.crops),
            boxes=torch.tensor([view.box] * len(frames)),
        )


class ClipCodes:
    """Source and procedure of a clip as numbers."""

    def __init__(self, corpus: Corpus) -> None:
        self._sources = {name: code for code, name in enumerate(corpus.sources())}
        self._procedures = {name: code for code, name in enumerate(corpus.procedures())}

    def of(self, clip: Clip) -> tuple[int, int]:
        """Positions in `Corpus.sources` and in `Corpus.procedures`, the latter -1 for none or several."""
        [*procedures] = clip.procedures
        return self._sources[clip.source], self._procedures[procedures[0]] if len(procedures) == 1 else -1


def _further_views(
    frames: Sequence[np.ndarray], wanted: Crops, config: ViewConfig, generator: torch.Generator
) -> Tensor:
    """More views of the frames of one clip, float32 `(T, count, 3, S, S)`; the frames share each of them."""
    config = replace(config, crop_scale=wanted.scale or config.crop_scale)
    views = [training_view(frames, wanted.size, config, generator).images for _ in range(wanted.count)]
    return torch.stack(views, dim=1)


class _Batches(Sampler[list[tuple[int, int]]]):
    """Sample numbers and view size of each step of one rank."""

    def __init__(self, steps: range, size: int, rank: int, world_size: int, view_size: Callable[[int], int]) -> None:
        self._steps, self._size, self._rank, self._world_size = steps, size, rank, world_size
        self._view_size = view_size

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in self._steps:
            first = (step * self._world_size + self._rank) * self._size
            pixels = self._view_size(step)
            yield [(sample, pixels) for sample in range(first, first + self._size)]


def training_batches(
    views: TrainingViews,
    first_step: int,
    steps: int,
    groups_per_batch: int,
    rank: int,
    world_size: int,
    view_size: Callable[[int], int] | None = None,
) -> Iterator[ViewBatch]:
    """Batches of steps `first_step` to `steps - 1` for one rank, each of `groups_per_batch` groups of k frames.

    Step s of rank r takes samples (s * world_size + r) * groups_per_batch onwards, whatever ran before and however many
    workers run: each makes whole batches, which come back in order. `view_size` gives the pixels of the main view at a
    step; without it they are those of `views`.
    """
    pixels = view_size or (lambda _: views.size)
    loader = DataLoader(
        views,
        batch_sampler=_Batches(range(first_step, steps), groups_per_batch, rank, world_size, pixels),
        num_workers=views.config.workers,
        collate_fn=join_batches,
        # Its own generator: starting the iterator would otherwise draw from the global one and shift dropout on resume.
        generator=torch.Generator().manual_seed(0),
    )
    yield from loader


def join_batches(groups: Sequence[ViewBatch]) -> ViewBatch:
    """Views of the loader end to end."""

    def join(name: str) -> Tensor:
        return torch.cat([getattr(group, name) for group in groups])

    return ViewBatch(
        images=join("images"),
        numbers=join("numbers"),
        valid=_join_valid([group.valid for group in groups]),
        clips=join("clips"),
        sources=join("sources"),
        procedures=join("procedures"),
        shared=join("shared"),
        crops=tuple(torch.cat(parts) for parts in zip(*(group.crops for group in groups), strict=True)),
        boxes=join("boxes"),
    )


def _join_valid(parts: Sequence[Tensor]) -> Tensor:
    """Masks `(T, V, V)` end to end; the usual case, all valid, is not copied out."""
    if all(part.stride() == (0, 0, 0) and bool(part[0, 0, 0]) for part in parts):
        return all_valid(sum(len(part) for part in parts), parts[0].shape[-1])
    return torch.cat(list(parts))


def held_out_views(corpus: Corpus, count: int, size: int, crops: Sequence[Crops] = ()) -> ViewBatch:
    """Whole frames of held-out cases, spread evenly over clips and time, at most `count`, numbered -1, -2, ...

    Their `crops` are drawn as in training, the same ones every time.

    Raises:
        UserError: when the corpus holds out no case.
    """
    clips, segments = corpus.clips("held_out"), corpus.segments("held_out")
    total = segments.num_frames
    if not total:
        raise UserError("the corpus has no held-out case: curate at least two cases, or name a folder 'test'")
    codes = ClipCodes(corpus)
    images, valid, facts = [], [], []
    generator = torch.Generator().manual_seed(0)
    further: list[list[Tensor]] = [[] for _ in crops]
    for number, position in segments.locate(np.linspace(0, total - 1, min(count, total)).round().astype(np.int64)):
        clip = clips[number]
        frames = corpus.read(clip, [position])
        images.append(whole_view(frames, size))
        valid.append(whole_mask(corpus.mask(clip), size)[None])
        facts.append((number, *codes.of(clip)))
        for wanted, found in zip(crops, further, strict=True):
            found.append(_further_views(frames, wanted, ViewConfig(), generator))
    own, sources, procedures = torch.tensor(facts).unbind(1)
    numbers = -1 - torch.arange(len(images))
    return ViewBatch(
        torch.cat(images),
        numbers,
        _join_valid(valid),
        own,
        sources,
        procedures,
        numbers,
        tuple(map(torch.cat, further)),
    )

"""Which frames come at which place of an epoch, by arithmetic on cumulative counts: nothing is kept per frame."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.corpus.segments import Segments

_OFFSETS = 1024  # places of a draw in its unit of weight; few enough bits that the additions below stay exact


@dataclass(frozen=True)
class Part:
    """Frames of one clip that are drawn together and share a view."""

    clip: int  # position in the table that the segments were made of
    positions: tuple[int, ...]  # in the clip
    frames: tuple[int, ...]  # numbers of the frames among all frames that may be drawn
    slot: int  # place of its first frame in the group


class Groups:
    """The frames of a split in groups of `frames_per_clip`, so that every batch has one shape and no frame is lost.

    A run of n frames (see `Segments`) is cut into groups of k frames at a stride s, interleaved so that s groups cover
    k * s neighbours. What is left of the runs is packed together; such frames get views of their own. With all weights
    1 an epoch shows every frame once; only the last packed group is filled up with packed frames from the beginning.

    A group of weight w is drawn w times per epoch on average, by systematic resampling: the groups lie side by side on
    a line, each as long as its weight, and one is drawn at every step of length 1 (as near as a whole number of draws
    allows) from an offset that differs by epoch. So w = 2 gives two draws an epoch, and w = 0.25 one every fourth epoch
    in the mean. Packed frames are drawn in the same way, one by one.

    Source: systematic sampling; Kitagawa, "Monte Carlo filter and smoother", 1996, appendix.

    Args:
        segments: the runs.
        frames_per_clip: k.
        clip_stride: s in stored frames; 0 spreads each group over its run, s = n // k.

    Attributes:
        draws: groups per epoch, the packed ones last.
        num_frames: frames that may be drawn.
    """

    def __init__(self, segments: Segments, frames_per_clip: int, clip_stride: int) -> None:
        self.size, self._stride, self._segments = frames_per_clip, clip_stride, segments
        lengths, weights = segments.lengths.astype(np.int64), segments.weights
        stride = clip_stride or np.maximum(lengths // frames_per_clip, 1)
        span = frames_per_clip * stride
        groups = lengths // span * stride + np.maximum(lengths % span - stride * (frames_per_clip - 1), 0)
        self._frame_ends = np.cumsum(lengths)
        self._row_ends = np.cumsum(np.where(weights > 0, lengths, 0))
        self._group_ends = np.cumsum(weights * groups)
        self._rest_ends = np.cumsum(weights * (lengths - groups * frames_per_clip))
        self._whole, self._rest = _draws(self._group_ends), _draws(self._rest_ends)
        self.draws = self._whole + math.ceil(self._rest / frames_per_clip)
        self.num_frames = segments.num_frames

    @property
    def packed_share(self) -> float:
        """Share of the drawn groups that are packed from what is left of several runs."""
        return 1 - self._whole / self.draws if self.draws else 0.0

    def draw(self, number: int, epoch_offset: int) -> list[Part]:
        """One group of an epoch.

        Args:
            number: 0 to `draws` - 1.
            epoch_offset: 0 to `_OFFSETS` - 1, see `epoch_offset`.
        """
        offset = (epoch_offset + 0.5) / _OFFSETS
        if number < self._whole:
            run, group = _find(self._group_ends, self._segments.weights, self._whole, number, offset)
            return [self._part(run, self._group(run, group), 0)]
        parts = []
        for slot in range(self.size):
            turn = ((number - self._whole) * self.size + slot) % self._rest
            run, left = _find(self._rest_ends, self._segments.weights, self._rest, turn, offset)
            parts.append(self._part(run, [self._leftover(run, left)], slot))
        return parts

    @property
    def num_rows(self) -> int:
        """Frames that have a row, see `part_at`: those with a weight above 0."""
        return int(self._row_ends[-1]) if len(self._row_ends) else 0

    def part_at(self, row: int) -> tuple[int, Part]:
        """The part that holds a row, and the first row of that part.

        Rows number the frames so that those of a part are neighbours: run by run, first the groups of a run, then its
        packed frames one by one. Unlike draws they depend neither on the epoch nor on how large the weights are.

        Args:
            row: 0 to `num_rows` - 1.
        """
        run = int(np.searchsorted(self._row_ends, row, side="right"))
        start = int(self._row_ends[run] - self._segments.lengths[run])
        _, in_spans, _, extra = self._layout(run)
        grouped = (in_spans + extra) * self.size
        if row - start < grouped:
            group = (row - start) // self.size
            return start + group * self.size, self._part(run, self._group(run, group), 0)
        return row, self._part(run, [self._leftover(run, row - start - grouped)], 0)

    def row_of(self, frame: int) -> int:
        """The row of a frame, given by its number among all frames that may be drawn: the inverse of `part_at`."""
        run = int(np.searchsorted(self._frame_ends, frame, side="right"))
        length = int(self._segments.lengths[run])
        start, place = int(self._row_ends[run]) - length, frame - int(self._frame_ends[run]) + length
        stride, in_spans, covered, extra = self._layout(run)
        if place < covered:
            span, within = divmod(place, stride * self.size)
            slot, first = divmod(within, stride)
            return start + (span * stride + first) * self.size + slot
        slot, first = divmod(place - covered, stride)
        if first < extra:
            return start + (in_spans + first) * self.size + slot
        left = slot * (stride - extra) + first - extra
        return start + (in_spans + extra) * self.size + left

    def _part(self, run: int, places: Sequence[int], slot: int) -> Part:
        start, first = int(self._segments.starts[run]), int(self._frame_ends[run] - self._segments.lengths[run])
        return Part(
            int(self._segments.clips[run]),
            tuple(start + place for place in places),
            tuple(first + place for place in places),
            slot,
        )

    def _layout(self, run: int) -> tuple[int, int, int, int]:
        """Stride, groups in full spans, frames in full spans, and groups in the rest of a run."""
        length = int(self._segments.lengths[run])
        stride = self._stride or max(length // self.size, 1)
        spans, rest = divmod(length, self.size * stride)
        return stride, spans * stride, spans * stride * self.size, max(rest - stride * (self.size - 1), 0)

    def _group(self, run: int, group: int) -> list[int]:
        """Places in a run of one of its groups."""
        stride, in_spans, covered, extra = self._layout(run)
        group = min(group, in_spans + extra - 1)
        span, first = divmod(group, stride)
        start = span * stride * self.size + first if group < in_spans else covered + group - in_spans
        return [start + stride * i for i in range(self.size)]

    def _leftover(self, run: int, left: int) -> int:
        """Place in a run of one of the frames that no group of it holds."""
        stride, _, covered, extra = self._layout(run)
        left = min(left, int(self._segments.lengths[run]) - covered - extra * self.size - 1)
        # Behind the full spans, of every `stride` neighbours the first `extra` belong to groups.
        row, column = divmod(left, stride - extra)
        return covered + row * stride + extra + column


def epoch_offset(seed: int, epoch: int) -> int:
    """Where the draws of an epoch lie, 0 to `_OFFSETS` - 1."""
    return int(np.random.SeedSequence([seed, epoch, 1]).generate_state(1)[0]) % _OFFSETS


def _draws(ends: np.ndarray) -> int:
    return round(float(ends[-1])) if len(ends) else 0


def _find(ends: np.ndarray, weights: np.ndarray, draws: int, number: int, offset: float) -> tuple[int, int]:
    """The run in which a draw falls, and which of its items (groups or packed frames) it meets."""
    # With all weights 1 the step is exactly 1 and the draw exactly `number`.
    point = (number + offset) * (float(ends[-1]) / draws)
    run = int(np.searchsorted(ends, min(point, float(np.nextafter(ends[-1], 0))), side="right"))
    start = float(ends[run - 1]) if run else 0.0
    return run, int(max(point - start, 0.0) / float(weights[run]))


class BlockShuffle:
    """A permutation of `range(count)` that is a pure function of its arguments, made window by window.

    Blocks of `block` neighbours are permuted, then the items inside each window of `window` blocks: nearly as random as
    a full shuffle, while a reader touches only a window's worth of neighbouring rows at a time. A streaming shuffle
    buffer does the same, but loses its content when a run is resumed; here place n is known without places 0 to n - 1.

    Memory is one window, and 8 bytes per block for their order.
    """

    def __init__(self, count: int, seed: int, epoch: int, block: int, window: int) -> None:
        self.count, self._seed, self._epoch, self._block, self._window = count, seed, epoch, block, window
        blocks = -(-count // block)
        self._order = self._generator().permutation(blocks)
        self._missing = blocks * block - count  # items that the last block is short of
        place = int(np.flatnonzero(self._order == blocks - 1)[0]) if blocks else 0
        self._short = place // window  # window that holds the last block
        self._held: tuple[int, np.ndarray] = (-1, np.zeros(0, np.int64))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place: int) -> int:
        if not 0 <= place < self.count:
            raise IndexError(f"place {place} of {self.count}")
        size = self._window * self._block
        if place >= (self._short + 1) * size - self._missing:
            place += self._missing  # as if the last block were full
        number, within = divmod(place, size)
        if self._held[0] != number:
            self._held = (number, self._items(number))
        return int(self._held[1][within])

    def _items(self, number: int) -> np.ndarray:
        """The items of one window in their order, int64."""
        chosen = self._order[number * self._window : (number + 1) * self._window]
        items = (chosen[:, None] * self._block + np.arange(self._block)).ravel()  # (blocks, block) -> (blocks * block,)
        return self._generator(number).permutation(items[items < self.count])

    def _generator(self, *more: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self._seed, self._epoch, 0, *more])))

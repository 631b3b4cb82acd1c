"""The frames that are measured: runs of neighboring frames of every video, the same at every call."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
import torch
from torch import Tensor

from training.corpus.clip_table import as_numpy
from training.corpus.corpus import Corpus
from training.corpus.duplicates.likeness import MIN_CORRELATION, correlations
from training.corpus.filters.duplicate import DuplicateSettings
from training.corpus.filters.picture import Picture
from training.loader import ClipCodes
from training.views import whole_mask, whole_view


@dataclass(frozen=True)
class Frames:
    """Whole frames of one split, ordered by video and time.

    Attributes:
        images: uint8 (N, 3, V, V).
        valid: bool (N, V, V), the pixels that count.
        videos: int64 (N,), from 0 to V - 1.
        clips: int64 (N,), clip of each frame, as a position in its split.
        codes: int64 (N, 2), source and procedure of each frame, see `ClipCodes`.
        times: float64 (N,), seconds in the video; NaN for stills that have no time line.
        alike: bool (N, N), pairs of near-duplicates by the rule of the corpus's filter.
    """

    images: Tensor
    valid: Tensor
    videos: np.ndarray
    clips: np.ndarray
    codes: np.ndarray
    times: np.ndarray
    alike: np.ndarray

    def __len__(self) -> int:
        return len(self.videos)

    def spread(self, count: int) -> np.ndarray:
        """Rows of up to `count` frames, evenly spaced, int64."""
        return evenly(len(self), min(count, len(self)))


def evenly(length: int, count: int) -> np.ndarray:
    """`count` different numbers below `length`, at the middles of equal parts, int64."""
    return np.floor((np.arange(count) + 0.5) * length / max(count, 1)).astype(np.int64)


def choose_frames(corpus: Corpus, split: str, count: int, run_length: int, size: int) -> Frames:
    """About `count` frames of a split in runs of neighbors, about as many of every video.

    Args:
        corpus: open.
        split: "train" or "held_out".
        count: frames in all; of more videos than `count / run_length`, some are left out.
        run_length: frames of a run; they are neighbors among the frames of the video that may be drawn.
        size: side of the square pictures in pixels.
    """
    clips, segments = corpus.clips(split), corpus.segments(split)
    lengths = segments.lengths.astype(np.int64)
    owners = np.repeat(segments.clips.astype(np.int64), lengths)
    within = np.arange(len(owners)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    positions = np.repeat(segments.starts.astype(np.int64), lengths) + within
    names = clips.column("video_id").unify_dictionaries().combine_chunks()
    videos = as_numpy(names.indices).astype(np.int64)[owners]
    fps = as_numpy(pc.fill_null(clips.column("fps"), np.inf))[owners]  # a single still has none, and no second frame
    times = clips.numbers("t_start")[owners] + positions / fps
    order = np.lexsort((positions, owners, times, videos))
    picked = order[_choose_runs(videos[order], count, run_length)]
    times = times[picked].astype(np.float64)
    _, numbers = np.unique(videos[picked], return_inverse=True)
    for video in range(int(numbers.max(initial=-1)) + 1):
        own = times[numbers == video]
        if len(own) > 1 and own.min() == own.max():  # a folder of stills
            times[numbers == video] = np.nan
    images, valid, hashes, thumbnails, codes = [], [], [], [], []
    of_clip = ClipCodes(corpus)
    for owner, position, time in zip(owners[picked].tolist(), positions[picked].tolist(), times.tolist(), strict=True):
        clip = clips[owner]
        frame = corpus.read(clip, [position])[0]
        images.append((whole_view([frame], size) * 255).round().to(torch.uint8))
        valid.append(whole_mask(corpus.mask(clip), size))
        picture = Picture(frame, time)
        hashes.append(picture.phash)
        thumbnails.append(picture.thumbnail)
        codes.append(of_clip.of(clip))
    return Frames(
        images=torch.cat(images) if images else torch.zeros(0, 3, size, size, dtype=torch.uint8),
        valid=torch.stack(valid) if valid else torch.zeros(0, size, size, dtype=torch.bool),
        videos=numbers.astype(np.int64),
        clips=owners[picked],
        codes=np.array(codes, np.int64).reshape(-1, 2),
        times=times,
        alike=near_duplicates(np.array(hashes, np.uint64), thumbnails),
    )


def _choose_runs(videos: np.ndarray, count: int, run_length: int) -> np.ndarray:
    """Positions of the frames of all runs, ascending, for the video of every frame, sorted."""
    starts = np.flatnonzero(np.diff(videos, prepend=-1)) if len(videos) else np.zeros(0, np.int64)
    lengths = np.diff(np.append(starts, len(videos)))
    chosen = evenly(len(starts), min(len(starts), max(count // run_length, 1)))
    share = -(-count // max(len(chosen), 1))
    picked = [np.zeros(0, np.int64)]
    for start, length in zip(starts[chosen].tolist(), lengths[chosen].tolist(), strict=True):
        if length <= share:
            picked.append(np.arange(start, start + length))
            continue
        runs = max(share // run_length, 1)
        size = min(run_length, share)
        firsts = start + np.floor((np.arange(runs) + 0.5) * length / runs - size / 2).astype(np.int64)
        picked.append((firsts[:, None] + np.arange(size)).ravel())
    return np.concatenate(picked)


def near_duplicates(hashes: np.ndarray, thumbnails: Sequence[np.ndarray]) -> np.ndarray:
    """Pairs of frames that show the same, bool (N, N), by the rule that holds within a video of a corpus.

    Args:
        hashes: uint64 (N,), perceptual hashes.
        thumbnails: N of `Picture.thumbnail`.
    """
    alike = np.zeros((len(hashes), len(hashes)), bool)
    distances = np.bitwise_count(hashes[:, None] ^ hashes)
    firsts, seconds = np.nonzero(np.triu(distances <= DuplicateSettings().max_distance, 1))
    if len(firsts):
        pictures = np.stack(thumbnails)
        near = correlations(pictures[firsts], pictures[seconds]) >= MIN_CORRELATION
        alike[firsts[near], seconds[near]] = alike[seconds[near], firsts[near]] = True
    return alike

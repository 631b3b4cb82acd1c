"""Features once: each frame is decoded once and seen once by each backbone; all tasks and probes read from here."""

import itertools
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from evaluation.backbones import Backbone, Features
from evaluation.frames import AnyFrame, decode, sort_key
from training.errors import UserError

COARSE_GRID = 4  # cells a side that probes which look at places see: 16 tokens a frame can be stored for every frame
BATCH_SIZE = 16  # frames per forward pass: enough to keep a CPU busy, small beside any model's weights


@dataclass
class BackboneFeatures:
    """Features of one backbone. Rows follow the frames of the store; dense exists only for frames that need it.

    Dense tokens are kept as float16 of (value - center) / scale, with per-channel center and scale of the first batch:
    without that, a backbone whose tokens vary little around a large mean would be judged by rounding errors.
    """

    summary: np.ndarray  # (N, Ds) float32
    mean_dense: np.ndarray  # (N, Dd) float32, the mean over all cells
    coarse: np.ndarray  # (N, Dd, h, w) float16, h and w up to COARSE_GRID
    dense: np.ndarray  # (M, Dd, h, w) float16
    center: np.ndarray  # (Dd, 1, 1) float32
    scale: np.ndarray  # (Dd, 1, 1) float32
    seconds: float = 0.0  # spent in forward passes


@dataclass
class FeatureStore:
    """Features of all needed frames for all backbones, in memory."""

    rows: dict[AnyFrame, int]
    dense_rows: dict[AnyFrame, int]
    backbones: dict[str, BackboneFeatures] = field(default_factory=dict)

    def summary(self, backbone: str, frames: Sequence[AnyFrame]) -> np.ndarray:
        """Summaries, float32 (frames, Ds); Ds is 0 for a backbone without one."""
        return self.backbones[backbone].summary[self._rows(frames)]

    def mean_dense(self, backbone: str, frames: Sequence[AnyFrame]) -> np.ndarray:
        """Mean dense tokens, float32 (frames, Dd)."""
        return self.backbones[backbone].mean_dense[self._rows(frames)]

    def pooled(self, backbone: str, frames: Sequence[AnyFrame]) -> np.ndarray:
        """Summary beside mean dense token, float32 (frames, Ds + Dd)."""
        return np.concatenate([self.summary(backbone, frames), self.mean_dense(backbone, frames)], axis=1)

    def dense(self, backbone: str, frames: Sequence[AnyFrame]) -> np.ndarray:
        """Dense tokens, float32 (frames, Dd, h, w)."""
        features = self.backbones[backbone]
        stored = features.dense[[self.dense_rows[frame] for frame in frames]]
        return stored.astype(np.float32) * features.scale + features.center

    def coarse(self, backbone: str, frames: Sequence[AnyFrame]) -> np.ndarray:
        """Dense tokens averaged over at most `COARSE_GRID` cells, float32 (frames, Dd, h, w)."""
        return self.backbones[backbone].coarse[self._rows(frames)].astype(np.float32)

    def grid(self, backbone: str) -> tuple[int, int]:
        """Height and width of the backbone's dense grid."""
        return self.backbones[backbone].dense.shape[2], self.backbones[backbone].dense.shape[3]

    def _rows(self, frames: Sequence[AnyFrame]) -> list[int]:
        return [self.rows[frame] for frame in frames]


def extract_features(
    backbones: Sequence[Backbone],
    frames: Iterable[AnyFrame],
    dense_frames: Iterable[AnyFrame],
    image_size: int,
    *,
    memory_limit: float,
) -> FeatureStore:
    """Decode every frame once and pass it once through every backbone.

    Memory: per backbone `frames x (Ds + Dd) x 4 + dense frames x Dd x h x w x 2` bytes, known after the first batch;
    at 224 pixels 0.08 MB per frame for the smallest ZEN, 0.3 MB for a ViT-B. Frames themselves are not kept.

    Args:
        backbones: with distinct names.
        frames: all frames any task needs; duplicates are decoded once.
        dense_frames: those of them whose dense tokens are needed beyond their mean.
        image_size: pixels of the square every backbone sees.
        memory_limit: GB the features may take.

    Raises:
        UserError: a size a backbone refuses, a frame that cannot be decoded, features that are not finite, or an
            estimate above `memory_limit`.
    """
    for backbone in backbones:
        backbone.check_size(image_size)
    dense_set = set(dense_frames)
    ordered = sorted(set(frames) | dense_set, key=sort_key)
    rows = {frame: row for row, frame in enumerate(ordered)}
    dense_rows = {frame: row for row, frame in enumerate(frame for frame in ordered if frame in dense_set)}
    store = FeatureStore(rows, dense_rows)
    if not ordered or not backbones:
        return store
    decoded = decode(ordered, image_size)
    row = dense_row = 0
    with tqdm(total=len(ordered), desc=f"features of {len(backbones)} backbones", unit="frame") as bar:
        while batch := list(itertools.islice(decoded, BATCH_SIZE)):
            pixels = np.stack(batch)
            wanted = np.array([frame in dense_set for frame in ordered[row : row + len(batch)]])
            for backbone in backbones:
                start = time.perf_counter()
                features = backbone.extract(pixels)
                seconds = time.perf_counter() - start
                _check_finite(backbone.name, features)
                if backbone.name not in store.backbones:
                    store.backbones[backbone.name] = _allocate(features, len(rows), len(dense_rows))
                    _check_memory(store, len(backbones), memory_limit)
                _put(store.backbones[backbone.name], features, row, dense_row, wanted)
                store.backbones[backbone.name].seconds += seconds
            row += len(batch)
            dense_row += int(wanted.sum())
            bar.update(len(batch))
    return store


def _allocate(first: Features, frames: int, dense_frames: int) -> BackboneFeatures:
    width, height, breadth = first.dense.shape[1:]
    spread = first.dense.std(axis=(0, 2, 3)).reshape(width, 1, 1)
    return BackboneFeatures(
        summary=np.empty((frames, first.summary.shape[1]), dtype=np.float32),
        mean_dense=np.empty((frames, width), dtype=np.float32),
        coarse=np.empty((frames, width, min(height, COARSE_GRID), min(breadth, COARSE_GRID)), dtype=np.float16),
        dense=np.empty((dense_frames, width, height, breadth), dtype=np.float16),
        center=first.dense.mean(axis=(0, 2, 3)).reshape(width, 1, 1),
        scale=np.where(spread > 0, spread, 1.0).astype(np.float32),
    )


def _put(target: BackboneFeatures, features: Features, row: int, dense_row: int, wanted: np.ndarray) -> None:
    count = len(wanted)
    target.summary[row : row + count] = features.summary
    target.mean_dense[row : row + count] = features.dense.mean(axis=(2, 3))
    target.coarse[row : row + count] = _coarse(features.dense)
    scaled = (features.dense[wanted] - target.center) / target.scale
    limit = np.finfo(np.float16).max
    target.dense[dense_row : dense_row + int(wanted.sum())] = np.clip(scaled, -limit, limit)


def _coarse(dense: np.ndarray) -> np.ndarray:
    """(B, Dd, h, w) averaged over a grid of at most COARSE_GRID cells a side."""
    size = (min(dense.shape[2], COARSE_GRID), min(dense.shape[3], COARSE_GRID))
    pooled = F.adaptive_avg_pool2d(torch.from_numpy(dense), size).numpy()
    limit = np.finfo(np.float16).max
    return np.clip(pooled, -limit, limit)


def _check_finite(name: str, features: Features) -> None:
    if not (np.isfinite(features.summary).all() and np.isfinite(features.dense).all()):
        raise UserError(f"features of {name!r} hold NaN or infinity; its weights are broken or its precision too low")


def _check_memory(store: FeatureStore, count: int, limit: float) -> None:
    """Refuse before the work is done: what is allocated so far, scaled to the backbones still to come."""
    used = [b.summary.nbytes + b.mean_dense.nbytes + b.coarse.nbytes + b.dense.nbytes for b in store.backbones.values()]
    estimate = sum(used) / 1e9
    if estimate > limit:
        raise UserError(
            f"the features of {len(used)} of {count} backbones need {estimate:.1f} GB, "
            f"more than --memory-limit {limit:g}; raise it, choose fewer tasks or teachers, or a smaller --image-size"
        )

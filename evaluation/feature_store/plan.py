"""What an extraction would have to do, without decoding a frame for it; and how long, by a pass over a few."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluation.backbones import Backbone
from evaluation.feature_store.collector import BATCH_SIZE
from evaluation.feature_store.extraction import lacking
from evaluation.feature_store.folder import BackboneFolder
from evaluation.feature_store.request import Request
from evaluation.frames import AnyFrame, decode


@dataclass(frozen=True)
class FeatureRate:
    """Seconds per frame of decoding and resizing, and of the forward pass of each backbone."""

    decode: float
    backbones: dict[str, float]


@dataclass(frozen=True)
class FeaturePlan:
    """What an extraction would do.

    Attributes:
        frames: different ones that are asked for.
        decoded: of them, those that some backbone lacks.
        missing: frames that each backbone lacks.
        sample: some of those to be decoded, neighbors, for `measure_rate`.
    """

    frames: int
    decoded: int
    missing: dict[str, int]
    sample: tuple[AnyFrame, ...]

    def seconds(self, rate: FeatureRate) -> float:
        """Estimate for one process."""
        return self.decoded * rate.decode + sum(count * rate.backbones[name] for name, count in self.missing.items())


def plan_features(
    backbones: Sequence[Backbone],
    frames: Iterable[AnyFrame],
    dense_frames: Iterable[AnyFrame],
    image_size: int,
    *,
    folder: Path | None = None,
    coarse_frames: Iterable[AnyFrame] | None = None,
) -> FeaturePlan:
    """Count what `extract_features` would compute; arguments as there.

    Of every file at most 1 MiB is read, of the folder the tables. Parts are not checked byte by byte, so that damage in
    one adds its frames only to the extraction.

    Raises:
        UserError: a size a backbone refuses, a file that cannot be read, or a folder that cannot be used.
    """
    for backbone in backbones:
        backbone.check_size(image_size)
    request = Request.of(frames, dense_frames, coarse_frames, by_content=folder is not None)
    missing: dict[str, np.ndarray] = {}
    for backbone in backbones:
        parts = []
        if folder is not None:
            parts = BackboneFolder.of(folder, backbone, image_size).read(request, verify=False)
        missing[backbone.name] = request.missing(parts)
    needed = np.flatnonzero(lacking(request, missing).any(axis=0))
    middle = max(len(needed) // 2 - BATCH_SIZE, 0)
    sample = tuple(request.frames[request.first[each]] for each in needed[middle : middle + 2 * BATCH_SIZE])
    counts = {name: len(positions) for name, positions in missing.items()}
    return FeaturePlan(len(request.keys), len(needed), counts, sample)


def measure_rate(backbones: Sequence[Backbone], sample: Sequence[AnyFrame], image_size: int) -> FeatureRate:
    """Time a pass over a few frames, of which nothing is kept.

    Args:
        backbones: each sees two batches, the second of which is timed.
        sample: frames, those of `FeaturePlan`; at least one.
        image_size: pixels.

    Raises:
        UserError: a frame that cannot be decoded.
    """
    start = time.perf_counter()
    images = list(decode(sample, image_size))
    decoding = (time.perf_counter() - start) / len(images)
    batch = np.stack(images[-BATCH_SIZE:])
    rates = {}
    for backbone in backbones:
        backbone.extract(batch)  # the first pass of a model also reserves its memory
        start = time.perf_counter()
        backbone.extract(batch)
        rates[backbone.name] = (time.perf_counter() - start) / len(batch)
    return FeatureRate(decoding, rates)

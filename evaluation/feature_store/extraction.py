"""The pass over the frames: each is decoded once and seen once by each backbone that lacks it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from accelerate import PartialState
from tqdm import tqdm

from evaluation.backbones import Backbone
from evaluation.feature_store.collector import Collector
from evaluation.feature_store.encoding import Rows
from evaluation.feature_store.part import Part
from evaluation.feature_store.request import Request
from evaluation.feature_store.sharing import deal
from evaluation.frames import UnreadableFrameError, decode


@dataclass(frozen=True)
class Counts:
    """Frames that were decoded, and that each backbone saw."""

    decoded: int
    computed: dict[str, int]


def lacking(request: Request, missing: Mapping[str, np.ndarray]) -> np.ndarray:
    """Whether a backbone lacks a key, bool (backbones, N), from the positions of `Request.missing`."""
    lacks = np.zeros((len(missing), len(request.keys)), bool)
    for row, positions in zip(lacks, missing.values(), strict=True):
        row[positions] = True
    return lacks


def extract_missing(
    backbones: Sequence[Backbone],
    request: Request,
    missing: Mapping[str, np.ndarray],
    image_size: int,
    keep: Callable[[str, Part], None],
    see: Callable[[str, Rows], None],
) -> Counts:
    """Compute this process's share of what is missing.

    Args:
        backbones: see `extract_features`.
        request: what is asked.
        missing: positions in `request.keys` that each backbone lacks, in the order of `backbones`.
        image_size: pixels.
        keep: takes the name of a backbone and a part of its features.
        see: takes the name of a backbone and what is kept of its first batch; may raise.

    Raises:
        UserError: see `extract_features`; what was computed before is kept.
    """
    state = PartialState()
    lacks = lacking(request, missing)
    positions = np.flatnonzero(lacks.any(axis=0))
    frames = [request.frames[request.first[position]] for position in positions]
    share = deal(frames, state.num_processes)[state.process_index]
    collectors = [Collector(backbone, _keeper(keep, backbone.name), see) for backbone in backbones]
    decoded = 0
    description = f"features of {len(backbones)} backbones"
    bar = tqdm(total=len(share), desc=description, unit="frame", disable=not (share and state.is_main_process))
    try:
        with bar:
            images = decode([frames[each] for each in share], image_size)
            for position, image in zip(positions[share], images, strict=True):
                decoded += 1
                for collector, lacks_it in zip(collectors, lacks[:, position], strict=True):
                    if lacks_it:
                        wanted = (bool(request.wanted[kind][position]) for kind in ("coarse", "dense"))
                        collector.add(request.keys[position], image, *wanted)
                bar.update()
            for collector in collectors:
                collector.finish()
    except UnreadableFrameError:  # the frames before it are good, also those that wait for a full batch
        for collector in collectors:
            collector.finish()
        raise
    finally:
        for collector in collectors:
            collector.keep_part()
    return Counts(decoded, {collector.backbone.name: collector.computed for collector in collectors})


def _keeper(keep: Callable[[str, Part], None], name: str) -> Callable[[Part], None]:
    return lambda part: keep(name, part)

"""One backbone in the pass over the frames: collects what it lacks into batches, and its features into parts."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evaluation.backbones import Backbone, Features
from evaluation.feature_store.encoding import TOKENS, Rows, encode
from evaluation.feature_store.part import Part
from training.errors import UserError

BATCH_SIZE = 16  # frames per forward pass: enough to keep a CPU busy, small beside any model's weights
PART_FRAMES = 512  # frames after which a part is kept: what a kill can lose, 5 minutes of a ViT-B on two cores
PART_BYTES = 64_000_000  # likewise, where dense tokens are kept: bounds the memory of what is not written yet


@dataclass
class Collector:
    """Takes frames one by one.

    Attributes:
        backbone: whose features are computed.
        keep: takes finished parts.
        see: looks at what is kept of the first batch; may raise.
        computed: frames so far.
    """

    backbone: Backbone
    keep: Callable[[Part], None]
    see: Callable[[str, Rows], None]
    computed: int = 0
    _images: list[np.ndarray] = field(default_factory=list)
    _asked: list[tuple[Any, bool, bool]] = field(default_factory=list)
    _rows: list[Rows] = field(default_factory=list)
    _kept: list[tuple[Any, bool, bool]] = field(default_factory=list)
    _bytes: int = 0
    _seconds: float = 0.0

    def add(self, key: Any, image: np.ndarray, has_coarse: bool, has_dense: bool) -> None:
        """Take a frame, uint8 (H, W, 3) RGB. Raises `UserError` if features are not finite."""
        self._images.append(image)
        self._asked.append((key, has_coarse, has_dense))
        if len(self._images) == BATCH_SIZE:
            self._compute()

    def finish(self) -> None:
        """Compute what is left and keep it."""
        self._compute()
        self.keep_part()

    def keep_part(self) -> None:
        """Keep what is computed."""
        if not self._kept:
            return
        tensors = {name: np.concatenate([rows[name] for rows in self._rows]) for name in self._rows[0]}
        token_rows = {}
        for column, kind in enumerate(TOKENS, start=1):
            has = np.array([bool(frame[column]) for frame in self._kept])
            token_rows[kind] = np.where(has, np.cumsum(has) - 1, -1).astype(np.int32)
        part = Part([frame[0] for frame in self._kept], token_rows, tensors, self._seconds)
        self._rows, self._kept, self._bytes, self._seconds = [], [], 0, 0.0
        self.keep(part)

    def _compute(self) -> None:
        if not self._images:
            return
        pixels = np.stack(self._images)
        start = time.perf_counter()
        features = self.backbone.extract(pixels)
        self._seconds += time.perf_counter() - start
        _check_finite(self.backbone.name, features)
        has_coarse, has_dense = (np.array([frame[column] for frame in self._asked]) for column in (1, 2))
        rows = encode(features, has_coarse, has_dense)
        if not self.computed:
            self.see(self.backbone.name, rows)
        self.computed += len(pixels)
        self._rows.append(rows)
        self._kept += self._asked
        self._bytes += sum(tensor.nbytes for tensor in rows.values())
        self._images, self._asked = [], []
        if len(self._kept) >= PART_FRAMES or self._bytes >= PART_BYTES:
            self.keep_part()


def _check_finite(name: str, features: Features) -> None:
    if not (np.isfinite(features.summary).all() and np.isfinite(features.dense).all()):
        raise UserError(f"features of {name!r} hold NaN or infinity; its weights are broken or its precision too low")

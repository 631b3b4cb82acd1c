"""What a run asks of every backbone, and what of it the parts at hand lack."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.feature_store.encoding import TOKENS
from evaluation.feature_store.frame_keys import frame_keys
from evaluation.feature_store.part import Part
from evaluation.frames import AnyFrame, sort_key

KINDS = ("pooled", *TOKENS)


@dataclass(frozen=True)
class Places:
    """Where the features of N frames lie: number of the part, -1 where none has them, and row in it, int64 (N,)."""

    part: np.ndarray
    row: np.ndarray


@dataclass(frozen=True)
class Request:
    """Frames whose features are needed.

    Attributes:
        frames: without duplicates, in the order they are decoded.
        positions: of the key of each frame in `keys`; copies of one file have one key.
        keys: what the frames are known by in the parts, N of them.
        first: position in `frames` of a frame of each key.
        wanted: bool (N,) by "pooled", "coarse" and "dense".
    """

    frames: list[AnyFrame]
    positions: dict[AnyFrame, int]
    keys: list[Any]
    first: list[int]
    wanted: dict[str, np.ndarray]

    @classmethod
    def of(
        cls,
        frames: Iterable[AnyFrame],
        dense_frames: Iterable[AnyFrame],
        coarse_frames: Iterable[AnyFrame] | None,
        *,
        by_content: bool,
    ) -> "Request":
        """Args: see `extract_features`; `by_content`: keys are `frame_keys`, as folders need them; else the frames."""
        dense = set(dense_frames)
        plain = set(frames) | dense
        coarse = plain if coarse_frames is None else set(coarse_frames)
        ordered = sorted(plain | coarse, key=sort_key)
        own: Sequence[Any] = frame_keys(ordered) if by_content else ordered
        first: dict[Any, int] = {}
        for number, key in enumerate(own):
            first.setdefault(key, number)
        places = {key: position for position, key in enumerate(first)}
        positions = {frame: places[key] for frame, key in zip(ordered, own, strict=True)}
        wanted = {"pooled": np.ones(len(first), bool)}
        for kind, members in (("coarse", coarse), ("dense", dense)):
            wanted[kind] = np.zeros(len(first), bool)
            wanted[kind][[positions[frame] for frame in members]] = True
        return cls(ordered, positions, list(first), list(first.values()), wanted)

    def find(self, parts: Sequence[Part]) -> dict[str, Places]:
        """Where each kind of features lies; of several parts that have it the first."""
        places = {kind: Places(*np.full((2, len(self.keys)), -1, np.int64)) for kind in KINDS}
        numbers = {key: position for position, key in enumerate(self.keys)}
        for number, part in enumerate(parts):
            own = np.array([numbers.get(key, -1) for key in part.keys], np.int64)
            rows = {"pooled": np.arange(len(own)), **part.token_rows}
            for kind, found in places.items():
                use = (own >= 0) & (rows[kind] >= 0)
                use[use] = found.part[own[use]] < 0
                found.part[own[use]], found.row[own[use]] = number, rows[kind][use]
        return places

    def missing(self, parts: Sequence[Part]) -> np.ndarray:
        """Positions of the keys that lack something wanted, int64, ascending."""
        places = self.find(parts)
        lacks = np.zeros(len(self.keys), bool)
        for kind, wanted in self.wanted.items():
            lacks |= wanted & (places[kind].part < 0)
        return np.flatnonzero(lacks)

"""Reading the features of one backbone: rows gathered from parts when a probe asks for them."""

from collections.abc import Sequence

import numpy as np

from evaluation.feature_store.encoding import from_half
from evaluation.feature_store.part import Part
from evaluation.feature_store.request import Places, Request


class BackboneFeatures:
    """Features of one backbone; frames are numbered as in `Request.keys`.

    Attributes:
        seconds: spent in the forward passes that made them, in this run or before.
    """

    def __init__(self, request: Request, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._places = request.find(parts)
        used = np.bincount(self._places["pooled"].part, minlength=len(parts))
        self.seconds = float(
            sum(part.seconds * count / len(part.keys) for part, count in zip(parts, used, strict=True) if count)
        )

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the dense grid."""
        height, width = self._parts[0].tensors["dense"].shape[2:]
        return height, width

    def pooled(self, name: str, frames: np.ndarray) -> np.ndarray:
        """Rows of "summary" or "mean_dense", float32 (frames, D)."""
        return self._gather("pooled", name, frames)

    def tokens(self, name: str, frames: np.ndarray) -> np.ndarray:
        """Rows of "coarse" or "dense", float32 (frames, Dd, h, w). Raises `KeyError` for a frame kept without them."""
        scale = self._gather(name, f"{name}_scale", frames)
        return from_half(self._gather(name, name, frames), scale, self.pooled("mean_dense", frames))

    def _gather(self, kind: str, name: str, frames: np.ndarray) -> np.ndarray:
        places: Places = self._places[kind]
        numbers, rows = places.part[frames], places.row[frames]
        if len(frames) and numbers.min() < 0:
            raise KeyError(f"no {kind} features were asked for of frame {int(frames[numbers.argmin()])}")
        first = self._parts[0].tensors[name]
        gathered = np.empty((len(frames), *first.shape[1:]), first.dtype)
        order = np.argsort(numbers, kind="stable")
        present, starts = np.unique(numbers[order], return_index=True)
        for number, own in zip(present, np.split(order, starts[1:]) if len(present) else [], strict=True):
            gathered[own] = self._parts[number].tensors[name][rows[own]]
        return gathered

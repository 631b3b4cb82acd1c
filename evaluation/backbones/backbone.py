"""The interface of a backbone: uint8 frames in, a summary and a grid of dense tokens out, and who it is."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch

Role = Literal["student", "random_init", "teacher", "histogram", "majority"]


@dataclass(frozen=True)
class Identity:
    """What a result record says about a backbone. No absolute path: `id` is a Hub id or the last parts of a folder."""

    id: str
    revision: str | None
    weights_sha256: str
    preprocessing_sha256: str


@dataclass(frozen=True)
class Features:
    """Features of B frames: summary (B, Ds) and dense (B, Dd, h, w), float32 on the CPU.

    A backbone without a summary of its own gives (B, 0): probes then see the mean of its dense tokens only.
    """

    summary: np.ndarray
    dense: np.ndarray


class Backbone(Protocol):
    """Any source of features. The runner knows nothing else about it."""

    name: str
    role: Role
    identity: Identity
    summary_width: int
    dense_width: int

    def check_size(self, image_size: int) -> None:
        """Raise `UserError` if square frames of `image_size` pixels cannot be used."""

    def extract(self, images: np.ndarray) -> Features:
        """Features of images, uint8 (B, H, W, 3) RGB."""


def sha256_of_json(value: Any) -> str:
    """SHA-256 of a JSON-able value with sorted keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def sha256_of_weights(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of a state dict, sorted by name: the file layout does not matter."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()

"""The interface of a backbone: uint8 frames in, a summary and a grid of dense tokens out, and who it is."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

Role = Literal["student", "random_init", "teacher", "peer", "histogram", "majority"]


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


class Tokens(NamedTuple):
    """What a network gives for B frames: summary float (B, Ds), Ds may be 0, and dense float (B, Dd, h, w)."""

    summary: Tensor
    dense: Tensor


class FrameNetwork(nn.Module):
    """A network behind its own preprocessing: frames float (B, 3, H, W) in [0, 1], RGB -> `Tokens`.

    Resizing to a fixed input size, channel order, mean and std belong to `forward`, so that a frozen, a fine-tuned and
    a randomly initialised backbone see the same. Parameters are trainable; who wants them frozen says so.
    `copy.deepcopy` gives an independent network.
    """

    model: nn.Module  # the encoder itself, without its preprocessing
    widths: tuple[int, int]  # Ds and Dd

    def check_size(self, image_size: int) -> None:
        """Raise `UserError` if square frames of `image_size` pixels cannot be used; any size serves by default."""

    def forward(self, pixels: Tensor) -> Tokens:
        """Tokens of frames."""
        raise NotImplementedError

    def fresh(self) -> "FrameNetwork":
        """The same architecture behind the same preprocessing, with weights that its own initialization draws from
        torch's random state.
        """
        raise NotImplementedError


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


class NetworkBackbone:
    """A frame network as a backbone; what is fine-tuned are copies of `network`."""

    def __init__(self, name: str, role: Role, network: FrameNetwork, identity: Identity, device: torch.device) -> None:
        self.name = name
        self.role = role
        self.identity = identity
        self.network = network.eval().to(device)
        self.device = device
        self.summary_width, self.dense_width = network.widths

    def check_size(self, image_size: int) -> None:
        """Raise `UserError` if square frames of `image_size` pixels cannot be used."""
        self.network.check_size(image_size)

    @torch.inference_mode()
    def extract(self, images: np.ndarray) -> Features:
        """Features of images, uint8 (B, H, W, 3) RGB."""
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float().to(self.device) / 255  # (B, 3, H, W) in [0, 1]
        tokens = self.network(pixels)
        return Features(tokens.summary.float().cpu().numpy(), tokens.dense.float().cpu().numpy())


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

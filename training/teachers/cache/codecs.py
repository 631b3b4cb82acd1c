"""Forms in which features are kept: fp16, int8 with a scale per channel, and the first components of PHI-S."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from training.distributed import gather
from training.registry import Registry
from training.teachers.hadamard import hadamard
from training.teachers.normalizer import WITHOUT_FLOAT64, FeatureNormalizer

# What a value may pass the calibrated range by before it is cut off, as a share of half the range.
_MARGIN = 0.1


class Statistics:
    """What is known of a teacher's features before the first of them is kept.

    Attributes:
        normalizer: mean, and for PHI-S the covariance.
        low: least value per channel, float32 `(D,)`.
        high: greatest value per channel, float32 `(D,)`.
    """

    def __init__(self, width: int, mode: str) -> None:
        self.normalizer = FeatureNormalizer(width, mode)
        self.low, self.high = torch.full((width,), torch.inf), torch.full((width,), -torch.inf)

    def update(self, features: Tensor) -> None:
        """Count features `(B, D)` or `(B, D, h, w)`."""
        vectors = channels_last(features).flatten(0, -2).cpu()  # (N, D)
        self.normalizer.update(vectors)
        self.low = torch.minimum(self.low, vectors.amin(dim=0))
        self.high = torch.maximum(self.high, vectors.amax(dim=0))

    def finish(self) -> None:
        """Put the statistics of all processes together; equal on each of them."""
        self.normalizer.merge_processes()
        self.normalizer.freeze()
        for low, high in gather((self.low, self.high)):
            self.low, self.high = torch.minimum(self.low, low), torch.maximum(self.high, high)


class Codec(nn.Module, ABC):
    """Keeps features `(B, D)` or `(B, D, h, w)` and gives them back, channel by channel.

    Fixed by `fit`: what is needed to read stands in the state dict. `encode` and `decode` are functions of each token
    alone.

    Attributes:
        mean: of the calibration, float32 `(D,)`; fidelity is measured around it.
        mode: which statistics `fit` needs, a mode of `FeatureNormalizer`.
        dtype: of what is kept.
    """

    mode: str = "center"
    dtype: torch.dtype = torch.float16

    def __init__(self, width: int, components: int) -> None:
        super().__init__()
        self.mean = nn.Buffer(torch.zeros(width))

    @property
    def stored_width(self) -> int:
        """Channels of what is kept."""
        return len(self.mean)

    def num_bytes(self, shape: Sequence[int]) -> int:
        """What features of one view, of shape `(D, ...)`, take."""
        return self.stored_width * math.prod(shape[1:]) * self.dtype.itemsize

    @abstractmethod
    def fit(self, statistics: Statistics) -> None:
        """Fix what `encode` and `decode` do."""

    @abstractmethod
    def encode(self, features: Tensor) -> Tensor:
        """What is kept of float32 features `(B, D, ...)`: `dtype` `(B, stored_width, ...)`."""

    @abstractmethod
    def decode(self, stored: Tensor) -> Tensor:
        """Features, float32 `(B, D, ...)`, of what was kept."""

    def facts(self) -> dict[str, Any]:
        """What a reader of the cache's record should know, JSON-able."""
        return {}


CODECS: Registry[type[Codec]] = Registry("cache form")


@CODECS.register("fp16")
class HalfCodec(Codec):
    """Half precision; values beyond 65504 are cut off. The rounding of `TargetMemory`."""

    def fit(self, statistics: Statistics) -> None:
        """Only the mean, to measure fidelity."""
        self.mean.copy_(statistics.normalizer.mean)

    def encode(self, features: Tensor) -> Tensor:
        """Rounded."""
        limit = torch.finfo(torch.float16).max
        return features.clamp(-limit, limit).half()

    def decode(self, stored: Tensor) -> Tensor:
        """As they are."""
        return stored.float()


@CODECS.register("int8")
class ByteCodec(Codec):
    """One byte: q = round((x - o) / s), x ≈ o + s·q, with the middle o and the 254th part s of each channel's range.

    The range is that of the calibration, a tenth wider; what lies beyond is cut off. The error of a value within is at
    most s / 2.
    """

    dtype = torch.int8

    def __init__(self, width: int, components: int) -> None:
        super().__init__(width, components)
        self.offset = nn.Buffer(torch.zeros(width))
        self.scale = nn.Buffer(torch.ones(width))

    def fit(self, statistics: Statistics) -> None:
        """The range of each channel; a constant one is kept exactly."""
        self.mean.copy_(statistics.normalizer.mean)
        self.offset.copy_((statistics.low + statistics.high) / 2)
        reach = (1 + _MARGIN) * (statistics.high - statistics.low) / 2
        self.scale.copy_(torch.where(reach > 0, reach / 127, torch.ones_like(reach)))

    def encode(self, features: Tensor) -> Tensor:
        """Steps from the middle of the range."""
        steps = (features - _per_channel(self.offset, features)) / _per_channel(self.scale, features)
        return steps.round().clamp(-127, 127).to(torch.int8)

    def decode(self, stored: Tensor) -> Tensor:
        """The middle of each step."""
        return _per_channel(self.offset, stored) + _per_channel(self.scale, stored) * stored.float()


@CODECS.register("phi_s")
class ComponentCodec(Codec):
    """The first r principal components in the scale of PHI-S, in half precision: c = α·U_rᵀ·(x - μ), x ≈ μ + U_r·c/α.

    PHI-S (arXiv 2410.01680) turns α·Uᵀ·(x - μ) by a Hadamard matrix, which spreads every component over all
    coordinates; without it the first r coordinates are those with the most variance. That of the others is lost.
    """

    mode = "phi_s"

    def __init__(self, width: int, components: int) -> None:
        super().__init__(width, components)
        kept = min(components, width)
        self.forward_map = nn.Buffer(torch.zeros(kept, width))  # α·U_rᵀ
        self.backward_map = nn.Buffer(torch.zeros(kept, width))  # U_rᵀ/α
        self.energy = nn.Buffer(torch.zeros((), dtype=torch.float64))  # Σ of the kept eigenvalues / Σ of all

    @property
    def stored_width(self) -> int:
        """Components."""
        return len(self.forward_map)

    def fit(self, statistics: Statistics) -> None:
        """The principal components of the calibration."""
        normalizer, kept = statistics.normalizer, self.stored_width
        # transform = α·H·Uᵀ, so Hᵀ·transform = α·Uᵀ, whose rows have length α
        scaled = hadamard(normalizer.dim).T @ normalizer.transform
        alpha = scaled.square().sum(dim=1).mean().sqrt()
        self.mean.copy_(normalizer.mean)
        self.forward_map.copy_(scaled[:kept])
        self.backward_map.copy_(scaled[:kept] / alpha**2)
        self.energy.copy_(normalizer.spectrum[:kept].sum() / normalizer.spectrum.sum())

    def encode(self, features: Tensor) -> Tensor:
        """Coordinates along the components.

        In float64 where the device has it: in float32 the last bit of a product depends on how many tokens are
        multiplied at once, and would decide about the rounding to half precision.
        """
        limit = torch.finfo(torch.float16).max
        wide = torch.float32 if features.device.type in WITHOUT_FLOAT64 else torch.float64
        components = (channels_last(features) - self.mean).to(wide) @ self.forward_map.T.to(wide)
        return channels_first(components).clamp(-limit, limit).half()

    def decode(self, stored: Tensor) -> Tensor:
        """The point of their plane."""
        components = channels_last(stored.float()).contiguous()  # one layout, so one order of summation
        return channels_first(components @ self.backward_map + self.mean)

    def facts(self) -> dict[str, Any]:
        """Components, and the share of the calibration's variance that they hold."""
        return {"components": self.stored_width, "energy": float(self.energy)}


def channels_last(features: Tensor) -> Tensor:
    """`(B, D)` and `(B, D, h, w)` with the channels in the last axis."""
    return features.movedim(1, -1)


def channels_first(features: Tensor) -> Tensor:
    """The inverse of `channels_last`."""
    return features.movedim(-1, 1)


def _per_channel(values: Tensor, features: Tensor) -> Tensor:
    """`(D,)` as `(D, 1, 1)`, to be used with `(B, D, h, w)`, or as it is with `(B, D)`."""
    return values.view(-1, *(1,) * (features.ndim - 2))

"""How much of the teachers' float32 features a cache gives back: measured on every frame while it is written."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from training.teachers.cache.codecs import Codec, channels_last


@dataclass(frozen=True)
class Fidelity:
    """Sums over tokens x and what a codec gives back, x̂, both taken around the mean μ of the calibration."""

    tokens: int = 0
    cosine_sum: float = 0.0  # Σ cos(x - μ, x̂ - μ)
    error_sum: float = 0.0  # Σ ‖x - x̂‖²
    total_sum: float = 0.0  # Σ ‖x - μ‖²

    def __add__(self, other: "Fidelity") -> "Fidelity":
        return Fidelity(
            self.tokens + other.tokens,
            self.cosine_sum + other.cosine_sum,
            self.error_sum + other.error_sum,
            self.total_sum + other.total_sum,
        )

    def to_dict(self) -> dict[str, float]:
        """The sums, JSON-able; `Fidelity(**sums)` reads them."""
        return asdict(self)

    def measures(self) -> dict[str, Any]:
        """Mean cosine, and explained variance 1 - Σ‖x - x̂‖² / Σ‖x - μ‖²."""
        return {
            "cosine": self.cosine_sum / self.tokens,
            "explained_variance": 1 - self.error_sum / self.total_sum if self.total_sum else 1.0,
        }


@torch.no_grad()
def measure(codec: Codec, features: Tensor, stored: Tensor) -> Fidelity:
    """Compare features `(B, D, ...)` with what `codec` gives back of `stored`.

    A token that lies on the mean, where no cosine is defined, counts 1 if it comes back there, else 0.
    """
    around = (channels_last(features) - codec.mean).flatten(0, -2)  # (N, D)
    back = (channels_last(codec.decode(stored)) - codec.mean).flatten(0, -2)
    cosines = F.cosine_similarity(around, back, dim=1)
    cosines = torch.where(around.eq(back).all(dim=1), torch.ones_like(cosines), cosines)
    error, total = (around - back).double().square().sum(), around.double().square().sum()
    return Fidelity(len(around), float(cosines.double().sum()), float(error), float(total))

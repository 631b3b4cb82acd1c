"""Features at mean 0 and deviation 1: what every linear probe begins with."""

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Standardizer:
    """Shifts and scales each feature to mean 0 and deviation 1 over the rows it was made from; constants become 0."""

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, floor: float = 0.0) -> "Standardizer":
        """From rows (N, D). No deviation counts as less than `floor` times the root mean square of all deviations."""
        variance, mean = (part.numpy() for part in torch.var_mean(torch.from_numpy(rows), dim=0, correction=0))
        deviation = np.maximum(np.sqrt(variance), floor * np.sqrt(variance.mean()))
        usable = deviation > 1e-6 * np.maximum(np.abs(mean), 1e-6)  # below is rounding noise
        return cls(mean, np.divide(1.0, deviation, out=np.zeros_like(deviation), where=usable))

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Rows (N, D) -> (N, D)."""
        return (rows - self.mean) * self.scale

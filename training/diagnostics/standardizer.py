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
    def of(cls, rows: np.ndarray) -> "Standardizer":
        """From rows (N, D)."""
        variance, mean = (part.numpy() for part in torch.var_mean(torch.from_numpy(rows), dim=0, correction=0))
        deviation = np.sqrt(variance)
        usable = deviation > 1e-6 * np.maximum(np.abs(mean), 1e-6)  # below is rounding noise
        return cls(mean, np.divide(1.0, deviation, out=np.zeros_like(deviation), where=usable))

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Rows (N, D) -> (N, D)."""
        return (rows - self.mean) * self.scale

"""Features as directions: what every measure by cosine begins with."""

import numpy as np


def unit_rows(features: np.ndarray) -> np.ndarray:
    """Rows (N, D) at length 1, float64; a row of zeros stays."""
    rows = features.astype(np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)

"""The color floor: HSV histograms, no learning. What a model must beat to have seen more than color."""

import cv2
import numpy as np

CELL = 16  # pixels per dense cell, the patch of a ZEN model
GLOBAL_BINS = (12, 4, 4)  # hue, saturation, value: 192 numbers, as wide as the smallest ZEN
CELL_BINS = (6, 2, 2)  # 24 numbers, besides mean and deviation of each color


def color_histogram(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Summary: HSV histogram of a frame. Dense: per cell mean and deviation of R, G, B, and the cell's own histogram.

    Histograms are square roots of shares (Hellinger): distances behave and the frame size is irrelevant.

    Args:
        image: uint8 (H, W, 3) RGB. Pixels beyond the last whole cell count in the summary only.

    Returns:
        float32 (192,) and (30, H // 16, W // 16).
    """
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    shares = np.bincount(_bins(hsv, GLOBAL_BINS).ravel(), minlength=int(np.prod(GLOBAL_BINS))) / hsv[..., 0].size
    h, w = image.shape[0] // CELL, image.shape[1] // CELL
    colors = _cells(image[: h * CELL, : w * CELL].astype(np.float32) / 255, h, w)  # (h, w, cell pixels, 3)
    bins = _cells(_bins(hsv, CELL_BINS)[: h * CELL, : w * CELL, None], h, w)[..., 0]  # (h, w, cell pixels)
    width = int(np.prod(CELL_BINS))
    offsets = np.arange(h * w).reshape(h, w, 1) * width
    counts = np.bincount((bins + offsets).ravel(), minlength=h * w * width).reshape(h, w, width)
    dense = np.concatenate([colors.mean(2), colors.std(2), np.sqrt(counts / CELL**2)], axis=2)
    return np.sqrt(shares).astype(np.float32), dense.transpose(2, 0, 1).astype(np.float32)


def _bins(hsv: np.ndarray, bins: tuple[int, int, int]) -> np.ndarray:
    """Joint histogram bin of every pixel: (H, W) int64. OpenCV's 8 bit hue runs to 179, the others to 255."""
    limits = (180, 256, 256)
    hue, saturation, value = (hsv[..., i].astype(np.int64) * bins[i] // limits[i] for i in range(3))
    return (hue * bins[1] + saturation) * bins[2] + value


def _cells(pixels: np.ndarray, h: int, w: int) -> np.ndarray:
    """(h * CELL, w * CELL, C) -> (h, w, CELL * CELL, C)."""
    channels = pixels.shape[2]
    return pixels.reshape(h, CELL, w, CELL, channels).swapaxes(1, 2).reshape(h, w, CELL * CELL, channels)

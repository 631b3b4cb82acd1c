"""The 64-bit perceptual hash of a frame: near-duplicates differ in a few bits, whatever their size and coding."""

import cv2
import numpy as np

SIDE = 32  # pixels of the picture that is transformed
KEPT = 8  # lowest frequencies of each direction, 8 x 8 = 64 bits


def perceptual_hash(gray: np.ndarray) -> int:
    """The pHash of a frame.

    From Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010, section 3.2.1. The picture
    is shrunk to 32 x 32; bit i says whether the i-th of the 8 x 8 lowest coefficients of its cosine transform, row by
    row, exceeds their median. The constant term has no part in it, so that brightness has none either.

    Args:
        gray: uint8 (H, W).

    Returns:
        An integer from 0 to 2 ** 64 - 1; bit 0 is the lowest.
    """
    small = cv2.resize(gray, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:KEPT, :KEPT].ravel()
    bits = low > np.median(low[1:])
    bits[0] = False  # the constant term is above any other in every picture: no information
    return int.from_bytes(np.packbits(bits, bitorder="little").tobytes(), "little")

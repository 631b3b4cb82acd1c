"""The 64-bit perceptual hash of a frame: near-duplicates differ in a few bits, whatever their size and coding."""

import cv2
import numpy as np

SIDE = 32  # pixels of the thumbnail that is transformed
KEPT = 8  # lowest frequencies of each direction, 8 x 8 = 64 bits


def perceptual_hash(thumbnail: np.ndarray) -> int:
    """The pHash of a frame, of which it needs the thumbnail only.

    From Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010, section 3.2.1. The picture
    is shrunk to 32 x 32; bit i says whether the i-th of the 8 x 8 lowest coefficients of its cosine transform, row by
    row, exceeds their median. The constant term has no part in it, so that brightness has none either.

    Args:
        thumbnail: uint8 or float32 (32, 32), gray levels of the frame shrunk by area.

    Returns:
        An integer from 0 to 2 ** 64 - 1; bit 0 is the lowest.
    """
    low = cv2.dct(thumbnail.astype(np.float32))[:KEPT, :KEPT].ravel()
    bits = low > np.median(low[1:])
    bits[0] = False  # the constant term is above any other in every picture: no information
    return int.from_bytes(np.packbits(bits, bitorder="little").tobytes(), "little")

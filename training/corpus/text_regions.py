"""Text regions: user-given boxes as pixels, and how pixels are made unrecognisable in the frames that are stored.

Lettering that stands still is found by `overlay`; no text is read or searched for in single frames. So what is shown
now and then (a name on a title page) or at changing places is hidden only where `overlay.boxes` say that it may appear.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from training.corpus.field_of_view import CropBox

# Of the short side: the side of the cells that a blurred region is averaged over, 32 pixels at 256. Burned-in lines
# are 8 to 16 high there, so that one cell mixes several letters of a line with what lies above and below it.
CELL = 1 / 8


def box_pixels(
    boxes: Sequence[tuple[float, float, float, float]],
    source: tuple[int, int],
    box: CropBox,
    stored: tuple[int, int],
) -> np.ndarray:
    """The stored pixels that boxes touch.

    Args:
        boxes: x, y, width, height as fractions of the source frame.
        source: height and width of the source frames.
        box: what is cropped out of them.
        stored: height and width of the stored frames, resized from the crop.

    Returns:
        bool (height, width); a pixel that a box touches in part counts.
    """
    touched = np.zeros(stored, bool)
    down, across = stored[0] / (box.bottom - box.top), stored[1] / (box.right - box.left)
    for x, y, width, height in boxes:
        left, right = ((edge * source[1] - box.left) * across for edge in (x, x + width))
        top, bottom = ((edge * source[0] - box.top) * down for edge in (y, y + height))
        rows = slice(max(0, int(np.floor(top))), max(0, int(np.ceil(bottom))))
        columns = slice(max(0, int(np.floor(left))), max(0, int(np.ceil(right))))
        touched[rows, columns] = True
    return touched


def blacken(frame: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """A copy of a frame, uint8 (H, W, 3), that is 0 at `pixels`, bool (H, W). Nothing of what was there is left."""
    hidden = frame.copy()
    hidden[pixels] = 0
    return hidden


def blur(frame: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """A copy of a frame, uint8 (H, W, 3), that is averaged over large cells and then blurred at `pixels`, bool (H, W).

    All that is left of a cell (`CELL`) is its mean color, so no letter can be restored; black leaves not even that.
    """
    height, width = pixels.shape
    side = max(2.0, CELL * min(height, width))
    cells = (max(1, round(width / side)), max(1, round(height / side)))
    coarse = cv2.resize(
        cv2.resize(frame, cells, interpolation=cv2.INTER_AREA), (width, height), interpolation=cv2.INTER_NEAREST
    )
    hidden = frame.copy()
    hidden[pixels] = cv2.GaussianBlur(coarse, (0, 0), side / 2)[pixels]
    return hidden

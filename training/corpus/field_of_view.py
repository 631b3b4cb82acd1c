"""The field of view of an endoscope: the box around the (usually round) picture inside its dark border, per video."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

WORK_WIDTH = 320  # pixels; the border is found on frames reduced to this width, so boxes are exact to about 0.3 %


@dataclass(frozen=True)
class FieldOfViewSettings:
    """Settings of the field-of-view crop."""

    enabled: bool = True
    frames: int = 24  # frames looked at per video, spread over it; enough that no part stays dark in all of them
    # Gray levels 0-255 that content exceeds. 15 is the field's cut-margin value; borders that are themselves gray
    # (limited-range video shows 16-18) raise it to `contrast` above their own level.
    min_level: float = 15.0
    contrast: float = 8.0  # gray levels; several times the coding noise of a flat border (below 3)
    max_border: float = 32.0  # gray levels; a "border" brighter than this is dark tissue and is not cut
    min_margin: float = 0.015  # of the side; thinner margins stay, they cost less than a wrong cut
    min_size: float = 0.2  # of the side; a smaller "field of view" is a light in the dark, nothing is cut
    flatness: float = 6.0  # gray levels around a margin's median; genuine borders vary by 1 to 5, dark tissue by more
    flat_fraction: float = 0.85  # of a margin's pixels that must be so flat for it to be cut


@dataclass(frozen=True)
class CropBox:
    """A box in pixels of the source frame; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int


def full_frame(frame: np.ndarray) -> CropBox:
    """The box that cuts nothing off a frame (H, W, 3)."""
    return CropBox(0, 0, frame.shape[1], frame.shape[0])


def estimate_crop(frames: Sequence[np.ndarray], settings: FieldOfViewSettings, *, percentile: float = 80.0) -> CropBox:
    """The bounding box of the picture content, from several frames of one video.

    Each pixel is judged by a percentile over the frames of its brightest channel: 80 leaves room for some title slides
    or flashes that fill the border, and for scenes that are dark in most frames. Thin lettering in the border is
    removed by a median filter, and only the largest connected region counts. A side is cut only when what is cut off
    is flat, as a border is.

    Args:
        frames: uint8 (H, W, 3) RGB, all of one size, at least one.
        settings: thresholds.
        percentile: 100 for stills that do not belong together, so that no still loses content.

    Returns:
        The box in pixels of these frames; the full frame when there is no border to cut or no content to find.
    """
    everything = full_frame(frames[0])
    if not settings.enabled:
        return everything
    height, width = frames[0].shape[:2]
    scale = min(1.0, WORK_WIDTH / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    stack = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA).max(axis=2) for frame in frames])
    lit = stack.mean(axis=(1, 2)) > settings.min_level
    picture = np.percentile(stack[lit] if lit.any() else stack, percentile, axis=0)
    border = float(np.percentile(picture, 2))
    if border > settings.max_border:
        return everything
    content = (picture > max(settings.min_level, border + settings.contrast)).astype(np.uint8)
    found = _largest_region(cv2.medianBlur(content, 5))
    if found is None:
        return everything
    left, top, right, bottom = found
    columns, rows = size
    if left < settings.min_margin * columns or not _is_flat(picture[:, :left], settings):
        left = 0
    if columns - right < settings.min_margin * columns or not _is_flat(picture[:, right:], settings):
        right = columns
    if top < settings.min_margin * rows or not _is_flat(picture[:top], settings):
        top = 0
    if rows - bottom < settings.min_margin * rows or not _is_flat(picture[bottom:], settings):
        bottom = rows
    if right - left < settings.min_size * columns or bottom - top < settings.min_size * rows:
        return everything
    return CropBox(
        round(left * width / columns),
        round(top * height / rows),
        round(right * width / columns),
        round(bottom * height / rows),
    )


def crop(frame: np.ndarray, box: CropBox) -> np.ndarray:
    """The part of a frame (H, W, 3) inside a box, as a view."""
    return frame[box.top : box.bottom, box.left : box.right]


def _is_flat(margin: np.ndarray, settings: FieldOfViewSettings) -> bool:
    """Whether a strip of the picture, gray levels (h, w), has one level, as a border has."""
    return float((np.abs(margin - np.median(margin)) <= settings.flatness).mean()) >= settings.flat_fraction


def _largest_region(content: np.ndarray) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom of the largest connected region of ones in uint8 (H, W); `None` without any."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(content, connectivity=4)
    if count < 2:
        return None
    largest = labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    # A row or column belongs to the region when a few of its pixels do: single-pixel spurs do not widen the box.
    columns = np.flatnonzero(largest.mean(axis=0) >= 0.02)
    rows = np.flatnonzero(largest.mean(axis=1) >= 0.02)
    if not len(columns) or not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1

"""The field of view of an endoscope: the box around its picture inside the dark border, and its circle, per video."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot

import cv2
import numpy as np

WORK_WIDTH = 320  # pixels; the border is found on frames reduced to this width, so boxes are exact to about 0.3 %
TRIPLES = 1000  # of border points tried; with half of the points wrong, one in eight triples is right
TOLERANCE = 1.5  # reduced pixels from the circle; the border of a genuine view lies within 1
PROBES = 720  # angles at which a circle is checked
DARK_OUTSIDE = 0.75  # share of the pixels outside a circle that is dark in any case; the rest may be lettering


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
    # Whether the circle is looked for, independent of the crop. 20 rendered videos: intersection over union at least
    # 0.99 for the 14 round ones, none found in the 6 others.
    circle: bool = True
    min_confidence: float = 0.5  # 0 to 1; a circle below it is not recorded
    # 0 to 1; from here on pixels outside the circle are masked. 31 of 34 genuine views reach 0.97; a dark rim or a
    # view that moves within the video gives 0.66 to 0.81, octagons 0.65 to 0.83.
    mask_confidence: float = 0.8


@dataclass(frozen=True)
class CropBox:
    """A box in pixels of the source frame; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True)
class Circle:
    """A circle in pixels, counted from the middle of the first pixel, with a confidence from 0 to 1."""

    cx: float
    cy: float
    radius: float
    confidence: float

    def stored(self, box: CropBox, width: int, height: int) -> "Circle":
        """The circle of source frames in stored frames: cropped to `box`, then resized to `width` x `height`."""
        across, down = width / (box.right - box.left), height / (box.bottom - box.top)
        return Circle(
            (self.cx + 0.5 - box.left) * across - 0.5,
            (self.cy + 0.5 - box.top) * down - 0.5,
            self.radius * (across + down) / 2,  # they differ by the rounding of the stored size only
            self.confidence,
        )

    def inside(self, height: int, width: int) -> np.ndarray:
        """Which pixels have their middle in the circle: bool (height, width)."""
        y, x = np.ogrid[:height, :width]
        return np.hypot(x - self.cx, y - self.cy) <= self.radius


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
    picture = _picture(frames, settings, percentile)
    level = _border_level(picture, settings, 2)
    if level is None:
        return everything
    content = (picture > level).astype(np.uint8)
    found = _largest_region(cv2.medianBlur(content, 5))
    if found is None:
        return everything
    left, top, right, bottom = found
    rows, columns = picture.shape
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


def estimate_circle(
    frames: Sequence[np.ndarray], settings: FieldOfViewSettings, *, percentile: float = 80.0
) -> Circle | None:
    """The circle of the endoscope, which the frame may cut off at any side, from several frames of one video.

    Border points are the outermost content pixels of every row and column, those on the frame's edge left out. The
    circle through three of them with the most points near it (RANSAC: Fischler and Bolles, CACM 24, 1981) is refined
    on these points by Taubin's fit (IEEE PAMI 13, 1991). Dark tissue at the border makes wrong points, but they do not
    lie on one circle.

    The confidence is the product of two shares. Around the part of the circle that lies in the frame: 1 where the
    picture is content inside and dark outside, 1/2 where both are dark (dark tissue at the border), 0 elsewhere. Of the
    pixels outside: those that are dark, as a share of `DARK_OUTSIDE`.

    Args:
        frames: uint8 (H, W, 3) RGB, all of one size, at least one.
        settings: thresholds.
        percentile: as for `estimate_crop`.

    Returns:
        The circle in pixels of these frames; `None` when the picture fills the frame, is not round, or the confidence
        is below `min_confidence`.
    """
    if not settings.circle:
        return None
    picture = _picture(frames, settings, percentile)
    level = _border_level(picture, settings, 0.5)  # dark corners alone are a smaller part of the frame than a side
    if level is None:
        return None
    points = _border_points(picture > level)
    fitted = _fit_circle(points, picture.shape[1], picture.shape[0])
    if fitted is None:
        return None
    cx, cy, radius = fitted
    confidence = _confidence(picture, level, cx, cy, radius)
    if confidence < settings.min_confidence:
        return None
    across, down = frames[0].shape[1] / picture.shape[1], frames[0].shape[0] / picture.shape[0]
    return Circle(
        (cx + 0.5) * across - 0.5, (cy + 0.5) * down - 0.5, radius * (across + down) / 2, round(confidence, 4)
    )


def taubin_circle(points: np.ndarray) -> tuple[float, float, float] | None:
    """Taubin's algebraic circle fit by singular values (Chernov, Circular and Linear Regression, 2010, 5.10).

    With centered x, y, z = x^2 + y^2 and its mean m: the right singular vector (p, q, r) of the smallest singular value
    of the rows ((z - m) / (2 sqrt m), x, y), and a = p / (2 sqrt m), give the circle a (z - m) + q x + r y = 0.

    Args:
        points: float (n, 2), n at least 3.

    Returns:
        Center x and y and radius; `None` for points on a line.
    """
    middle = points.mean(axis=0)
    centered = points - middle
    squares = (centered**2).sum(axis=1)
    mean = squares.mean()
    if mean == 0:
        return None
    rows = np.column_stack([(squares - mean) / (2 * np.sqrt(mean)), centered])
    p, q, r = np.linalg.svd(rows, full_matrices=False)[2][-1]
    a = p / (2 * np.sqrt(mean))
    if abs(a) * np.sqrt(mean) < 1e-9:
        return None
    radius = np.sqrt(q**2 + r**2 + 4 * mean * a**2) / (2 * abs(a))
    return float(middle[0] - q / (2 * a)), float(middle[1] - r / (2 * a)), float(radius)


def _picture(frames: Sequence[np.ndarray], settings: FieldOfViewSettings, percentile: float) -> np.ndarray:
    """Gray levels (rows, columns) of the reduced frames' brightest channel, by a percentile over the lit frames."""
    height, width = frames[0].shape[:2]
    scale = min(1.0, WORK_WIDTH / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    stack = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA).max(axis=2) for frame in frames])
    lit = stack.mean(axis=(1, 2)) > settings.min_level
    picture: np.ndarray = np.percentile(stack[lit] if lit.any() else stack, percentile, axis=0)
    return picture


def _border_level(picture: np.ndarray, settings: FieldOfViewSettings, percent: float) -> float | None:
    """The gray level that content exceeds, `percent` of the frame being border; `None` when that is too bright."""
    border = float(np.percentile(picture, percent))
    return None if border > settings.max_border else max(settings.min_level, border + settings.contrast)


def _border_points(content: np.ndarray) -> np.ndarray:
    """Where the largest region of bool (rows, columns) begins and ends in each row and column: float (n, 2) of x, y."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        cv2.medianBlur(content.astype(np.uint8), 5), connectivity=4
    )
    if count < 2:
        return np.zeros((0, 2))
    region = labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    points = []
    for turned, mask in ((False, region), (True, region.T)):
        lines = np.flatnonzero(mask.any(axis=1))
        first = mask[lines].argmax(axis=1)
        last = mask.shape[1] - 1 - mask[lines, ::-1].argmax(axis=1)
        for ends, free in ((first - 0.5, first > 1), (last + 0.5, last < mask.shape[1] - 2)):
            pair = np.column_stack([ends, lines])[free]
            points.append(pair[:, ::-1] if turned else pair)
    return np.concatenate(points)


def _fit_circle(points: np.ndarray, width: int, height: int) -> tuple[float, float, float] | None:
    """The circle near most points (n, 2), whose middle lies in the frame and which is about as large as it."""
    if len(points) < 12:  # fewer than a few pixels of one corner
        return None
    triples = np.random.default_rng(0).integers(0, len(points), (TRIPLES, 3))
    a, b, c = (points[triples[:, corner]] for corner in range(3))  # (TRIPLES, 2) each
    u, v = b - a, c - a
    area = 2 * (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])
    a, u, v, area = (values[np.abs(area) > 1] for values in (a, u, v, area))
    uu, vv = (u**2).sum(axis=1), (v**2).sum(axis=1)
    offset = np.column_stack([v[:, 1] * uu - u[:, 1] * vv, u[:, 0] * vv - v[:, 0] * uu]) / area[:, None]
    centers, radii = a + offset, np.hypot(*offset.T)
    low, high = 0.25 * min(width, height), hypot(width, height) / 2
    fair = (radii > low) & (radii < high) & (np.abs(centers - [width / 2, height / 2]) < [width / 4, height / 4]).all(1)
    if not fair.any():
        return None
    centers, radii = centers[fair], radii[fair]
    distance = np.hypot(points[:, 0] - centers[:, :1], points[:, 1] - centers[:, 1:])  # (triples, n)
    votes = (np.abs(distance - radii[:, None]) <= TOLERANCE).sum(axis=1)
    best = int(votes.argmax())
    circle = (float(centers[best, 0]), float(centers[best, 1]), float(radii[best]))
    for _ in range(3):
        near = np.abs(np.hypot(points[:, 0] - circle[0], points[:, 1] - circle[1]) - circle[2]) <= TOLERANCE
        refined = taubin_circle(points[near]) if near.sum() >= 12 else None
        if refined is None:
            return None
        circle = refined
    return circle


def _confidence(picture: np.ndarray, level: float, cx: float, cy: float, radius: float) -> float:
    """See `estimate_circle`. 0 when less than a thirtieth of the circle lies in the frame."""
    rows, columns = picture.shape
    angle = np.arange(PROBES) * (2 * np.pi / PROBES)
    direction = np.column_stack([np.cos(angle), np.sin(angle)])
    reach = 2 * TOLERANCE
    outer = np.rint(direction * (radius + reach) + (cx, cy)).astype(int)
    inner = np.rint(direction * (radius - reach) + (cx, cy)).astype(int)
    seen = ((outer >= 0) & (outer < (columns, rows)) & (inner >= 0) & (inner < (columns, rows))).all(axis=1)
    if seen.mean() < 1 / 30:
        return 0.0
    bright_in = picture[inner[seen, 1], inner[seen, 0]] > level
    dark_out = picture[outer[seen, 1], outer[seen, 0]] <= level
    around = (dark_out * np.where(bright_in, 1.0, 0.5)).mean()
    y, x = np.ogrid[:rows, :columns]
    outside = np.hypot(x - cx, y - cy) > radius + reach
    dark = (picture[outside] <= level).mean() if outside.any() else 0.0
    return float(around * min(1.0, dark / DARK_OUTSIDE))


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

"""Interface overlays and burned-in text: what stands still on top of a picture that moves, per video.

Found are opaque and half-transparent lettering, logos, frames and panels with outlines, at the same place in most of
the frames looked at, inside the picture or in its dark border. Not found: what is shown in fewer of them (a name on a
title page, a clock whose digits change is found by the parts that stay), what moves, soft or dim marks, the moving
picture inside an inset, and everything in a video of few frames or one that hardly moves. No lettering is read (there
is no OCR), so nothing here proves that a video is free of names: boxes known to hold them belong into `overlay.boxes`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from training.corpus.field_of_view import Circle
from training.errors import UserError
from training.registry import unknown_name

ACTIONS = ("mask", "black", "blur", "off")
DARK = 24.0  # gray levels; the border of limited-range video is at 16 to 18, lit tissue above 30
STEADY = 0.2  # share of the frames in which an edge or a still pixel may be missing

LARGEST_HOLE = 0.01  # of the frame; the inside of a letter or of a symbol is smaller, an inset picture larger


@dataclass(frozen=True)
class OverlaySettings:
    """Settings of the search for overlays. Pixels are those of the stored frames.

    Measured on 20 rendered videos of 24 frames: clean, none has a mask; with lettering, half of them with a panel, 0.92
    of the drawn pixels are covered (least 0.76), 0.98 of the mask lies on what was drawn, intersection over union 0.80.
    Of 31 genuine videos long enough to be judged, the two with an overlay have a mask; one of the two masks also takes
    in the rim of a round view whose place changes in the video (3 % of the frame).
    """

    # "mask": frames stay as they are, the loss leaves the pixels out. "black", "blur": the pixels are also made
    # unrecognisable in the stored frames, and what lies outside a sure circle is black. "off": no search.
    action: str = "mask"
    # x, y, width, height as fractions of the source frame, hidden in every frame: blurred with action "blur", black
    # with every other, "off" too. They hold for all runs into one corpus: give sites with other boxes their own.
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    # Frames looked at, and seconds from the first to the last; tissue that happens to stand still for as long as that
    # cannot be told from an overlay.
    min_frames: int = 5
    min_seconds: float = 8.0
    min_moving: float = 0.5  # share of the lit picture that must change; below, the scene is static and is not judged
    max_change: float = 5.0  # gray levels from the median that a still pixel varies; coding noise is below
    min_edge: float = 10.0  # gray levels per pixel that an edge keeps, at one place and in one direction
    close: float = 0.03  # of the short side; gaps between letters up to this are bridged
    min_edge_pixels: int = 12  # of a region; one letter of the smallest readable text has about as many
    min_density: float = 0.15  # share of edge pixels in a region; lettering has 0.3 and more, stray edges 0.1
    min_panel: float = 0.0015  # of the frame; smaller still patches are left alone, lettering has its edges
    min_rim: float = 0.6  # share of a still patch's rim that must be an edge or change at once
    dilate: float = 0.008  # of the short side; two pixels at 256 take in blurred outlines
    max_share: float = 0.4  # of the frame; more is no overlay but a scene that stands still

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise unknown_name("overlay.action", self.action, ACTIONS)
        for box in self.boxes:
            if not _is_box(box):
                raise UserError(
                    f"setting overlay.boxes has {list(box)}: a box is x, y, width, height as fractions of the source "
                    "frame, 0 to 1, and ends inside it"
                )


@dataclass(frozen=True)
class Overlay:
    """What the search of one video found.

    Attributes:
        hidden: bool (height, width), True = overlay; `None` when nothing was found.
        outcome: "found", "none", or why there was no judgement: "short" (too few frames or seconds), "static".
    """

    hidden: np.ndarray | None
    outcome: str


def find_overlay(
    frames: Sequence[np.ndarray], settings: OverlaySettings, *, seconds: float, circle: Circle | None = None
) -> Overlay:
    """Find the pixels that belong to an overlay.

    An edge of an overlay has the same gradient in most frames, an edge of tissue that moves has not (the idea of the
    median gradient of Dekel et al., "On the effectiveness of visible watermarks", CVPR 2017, made a percentile): the
    gradient of every frame is projected on the direction of the mean gradient, and its 20th percentile over the frames
    must reach `min_edge` in one of the colors. Edges at the outline of the lit picture are left out. Groups of such
    edges are closed to regions. Regions of still pixels are added where their rim is such an edge or the change of
    the picture begins there at once, as it does beside a panel.

    Args:
        frames: uint8 (H, W, 3) RGB of one size, well spread over one video, as they are stored.
        settings: thresholds.
        seconds: from the first to the last of them; infinite for pictures that do not follow each other.
        circle: of the field of view in these frames, when it is known for sure.
    """
    lit = [frame for frame in frames if frame.mean() > DARK / 2]
    if len(lit) < settings.min_frames or seconds < settings.min_seconds:
        return Overlay(None, "short")
    picture = np.zeros(lit[0].shape[:2], np.float32)
    change, steady = picture.copy(), picture.copy()
    for color in range(3):  # one by one, for the memory
        stack = np.stack([frame[..., color] for frame in lit]).astype(np.float32)  # (n, H, W)
        median = _ranked(stack, 0.5)
        picture = np.maximum(picture, median)
        change = np.maximum(change, _ranked(np.abs(stack - median), 1 - STEADY))
        steady = np.maximum(steady, _steady_gradient(stack))
    content = picture > DARK
    if not content.any() or (change[content] > settings.max_change).mean() < settings.min_moving:
        return Overlay(None, "static")
    edges = steady >= settings.min_edge
    hidden = _regions(edges & ~_outline(content, circle), settings) | _panels(content, change, edges, settings)
    if hidden.mean() > settings.max_share:
        return Overlay(None, "static")
    if not hidden.any():
        return Overlay(None, "none")
    hidden = _without_holes(hidden)
    grown = cv2.dilate(hidden.astype(np.uint8), _disk(settings.dilate * min(hidden.shape)))
    return Overlay(grown.astype(bool), "found")


def _is_box(box: Sequence[float]) -> bool:
    """Whether this is x, y, width and height of a box in the unit square (configuration files do not check it)."""
    if len(box) != 4 or not all(isinstance(value, int | float) for value in box):
        return False
    x, y, width, height = box
    return 0 <= x < x + width <= 1 and 0 <= y < y + height <= 1


def _ranked(stack: np.ndarray, share: float) -> np.ndarray:
    """The value (H, W) that this share of the first dimension of (n, H, W) does not exceed."""
    rank = int(share * (len(stack) - 1))
    ranked: np.ndarray = np.partition(stack, rank, axis=0)[rank]
    return ranked


def _steady_gradient(stack: np.ndarray) -> np.ndarray:
    """Gray levels per pixel (H, W) that the gradient of (n, H, W) keeps in its mean direction in most frames."""
    # Sobel's weights sum up to 8 for a step of one gray level per pixel.
    across = np.stack([cv2.Sobel(gray, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8) for gray in stack])
    down = np.stack([cv2.Sobel(gray, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8) for gray in stack])
    mean_across, mean_down = across.mean(axis=0), down.mean(axis=0)
    length = np.maximum(np.hypot(mean_across, mean_down), 1e-6)
    return _ranked(across * (mean_across / length) + down * (mean_down / length), STEADY)


def _outline(content: np.ndarray, circle: Circle | None) -> np.ndarray:
    """A band along the outline of the lit picture and along the frame, bool like `content` (H, W).

    Without a circle the picture is closed and opened first, so that lettering in the border has no outline of its own.
    """
    height, width = content.shape
    side = min(height, width)
    band = 0.02 * side
    if circle is not None:
        y, x = np.ogrid[:height, :width]
        outline = np.abs(np.hypot(x - circle.cx, y - circle.cy) - circle.radius) <= band
    else:
        wide, margin = _disk(0.05 * side), side // 4
        padded = np.pad(content.astype(np.uint8), margin, mode="edge")
        smooth = cv2.morphologyEx(cv2.morphologyEx(padded, cv2.MORPH_CLOSE, wide), cv2.MORPH_OPEN, wide)
        smooth = smooth[margin : margin + height, margin : margin + width]
        outline = cv2.dilate(smooth, _disk(band)) != cv2.erode(smooth, _disk(band))
    edge = max(1, round(0.01 * side))
    outline[:edge] = outline[-edge:] = True
    outline[:, :edge] = outline[:, -edge:] = True
    return outline


def _regions(edges: np.ndarray, settings: OverlaySettings) -> np.ndarray:
    """Groups of edges (H, W) closed to regions; loners and thin groups are left out."""
    closed = cv2.morphologyEx(edges.astype(np.uint8), cv2.MORPH_CLOSE, _disk(settings.close * min(edges.shape) / 2))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    inside = np.bincount(labels[edges], minlength=count)
    keep = (inside >= settings.min_edge_pixels) & (inside >= settings.min_density * stats[:, cv2.CC_STAT_AREA])
    keep[0] = False
    return keep[labels]


def _panels(content: np.ndarray, change: np.ndarray, edges: np.ndarray, settings: OverlaySettings) -> np.ndarray:
    """Connected still pixels (H, W) around which an edge stands or the picture changes at once.

    Dim tissue changes little too, but more and more towards the light: just outside it still hardly changes.
    """
    still = content & (change <= settings.max_change)
    marked = cv2.dilate(edges.astype(np.uint8), _disk(2)).astype(bool) | (change > 3 * settings.max_change)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        cv2.morphologyEx(still.astype(np.uint8), cv2.MORPH_OPEN, _disk(2)), connectivity=4
    )
    hidden = np.zeros(still.shape, bool)
    reach = 3  # pixels; the outline of a panel is blurred over about two
    for label in range(1, count):
        left, top, width, height, area = stats[label]
        if area < settings.min_panel * still.size:
            continue
        window = np.s_[max(0, top - reach) : top + height + reach, max(0, left - reach) : left + width + reach]
        part = (labels[window] == label).astype(np.uint8)
        rim = (cv2.dilate(part, _disk(reach)) - cv2.dilate(part, _disk(reach - 1))).astype(bool)
        if rim.any() and marked[window][rim].mean() >= settings.min_rim:
            hidden[window] |= part.astype(bool)
    return hidden


def _without_holes(hidden: np.ndarray) -> np.ndarray:
    """The regions (H, W) with the holes in them, but for large ones: a frame around the picture does not hide it."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((~hidden).astype(np.uint8), connectivity=4)
    hole = stats[:, cv2.CC_STAT_AREA] <= LARGEST_HOLE * hidden.size
    hole[0] = True  # the regions themselves
    filled: np.ndarray = hole[labels]
    return filled


def _disk(radius: float) -> np.ndarray:
    """A round structuring element of that radius in pixels, at least 1."""
    size = 2 * max(1, round(radius)) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))

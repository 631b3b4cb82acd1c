"""Looks: how the frames of one unit and size are stored: crop box, circle, hidden pixels and mask."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from training.corpus.field_of_view import Circle, CropBox, crop, estimate_circle, estimate_crop, full_frame
from training.corpus.frames import FrameStream, fit_short_side
from training.corpus.masks import Mask, make_mask
from training.corpus.overlay import Overlay, find_overlay
from training.corpus.settings import CurationSettings
from training.corpus.sources import Unit
from training.corpus.text_regions import blacken, blur, box_pixels


@dataclass(frozen=True)
class Look:
    """What the frames of one size have in common."""

    box: CropBox  # pixels of the source frames
    circle: Circle | None  # pixels of the stored frames
    mask: Mask | None  # None: all pixels are valid
    overlay: str  # outcome of the search, see Overlay; "off" without one
    black: np.ndarray | None  # bool (height, width) of the stored frames; None: no pixel
    blurred: np.ndarray | None
    short_side: int

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of a clip that follow from its look."""
        return {
            **{f"crop_{side}": pixel for side, pixel in asdict(self.box).items()},
            "fov_cx": self.circle.cx if self.circle else None,
            "fov_cy": self.circle.cy if self.circle else None,
            "fov_radius": self.circle.radius if self.circle else None,
            "fov_confidence": self.circle.confidence if self.circle else None,
            "mask": self.mask.mask_id if self.mask else "",
        }

    def store(self, frame: np.ndarray) -> np.ndarray:
        """The frame to be stored, uint8 (height, width, 3), of a source frame."""
        stored = fit_short_side(crop(frame, self.box), self.short_side)
        if self.blurred is not None:
            stored = blur(stored, self.blurred)
        return stored if self.black is None else blacken(stored, self.black)


class Looks:
    """The looks of a unit, by frame size. The frames that they are found on are read here."""

    def __init__(self, unit: Unit, stream: FrameStream, settings: CurationSettings) -> None:
        self._video_id = unit.video_id
        self._settings = settings
        self._percentile = 80.0 if unit.sequence else 100.0
        times = [sample.timestamp for sample in stream.samples]
        self._seconds = times[-1] - times[0] if unit.sequence else float("inf")
        by_size: dict[tuple[int, int], list[np.ndarray]] = {}
        view = settings.field_of_view
        if view.enabled or view.circle or settings.overlay.action != "off":
            for frame in stream.peek(view.frames):
                by_size.setdefault(frame.shape[:2], []).append(frame)
        self._looks = {size: self._find(frames) for size, frames in by_size.items()}

    def of(self, frame: np.ndarray) -> Look:
        """The look of a source frame (H, W, 3). A size that `peek` did not show is not cropped."""
        size = frame.shape[:2]
        if size not in self._looks:
            outcome = "off" if self._settings.overlay.action == "off" else "short"
            stored = fit_short_side(frame, self._settings.short_side)
            self._looks[size] = self._make(size, full_frame(frame), None, Overlay(None, outcome), stored.shape[:2])
        return self._looks[size]

    def _find(self, frames: Sequence[np.ndarray]) -> Look:
        view, overlay = self._settings.field_of_view, self._settings.overlay
        box = estimate_crop(frames, view, percentile=self._percentile)
        circle = estimate_circle(frames, view, percentile=self._percentile)
        found = Overlay(None, "off")
        stored = [fit_short_side(crop(frame, box), self._settings.short_side) for frame in frames]
        height, width = stored[0].shape[:2]
        if circle is not None:
            circle = circle.stored(box, width, height)
        if overlay.action != "off":
            sure = circle if circle is not None and circle.confidence >= view.mask_confidence else None
            found = find_overlay(stored, overlay, seconds=self._seconds, circle=sure)
        return self._make(frames[0].shape[:2], box, circle, found, (height, width))

    def _make(
        self, source: tuple[int, int], box: CropBox, circle: Circle | None, found: Overlay, stored: tuple[int, int]
    ) -> Look:
        overlay, nothing = self._settings.overlay, np.zeros(stored, bool)
        boxes = box_pixels(overlay.boxes, source, box, stored)
        marks = nothing if found.hidden is None else found.hidden
        outside = nothing
        if circle is not None and circle.confidence >= self._settings.field_of_view.mask_confidence:
            outside = ~circle.inside(*stored)
        valid = ~(boxes | marks | outside)
        black = {"black": boxes | marks | outside, "blur": outside}.get(overlay.action, boxes)
        blurred = boxes | marks if overlay.action == "blur" else nothing
        return Look(
            box,
            circle,
            None if valid.all() else make_mask(self._video_id, valid),
            found.outcome,
            black if black.any() else None,
            blurred if blurred.any() else None,
            self._settings.short_side,
        )

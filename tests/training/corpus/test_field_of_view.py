"""The field-of-view box on drawn endoscope pictures."""

import cv2
import numpy as np
import pytest

from training.corpus.field_of_view import CropBox, FieldOfViewSettings, crop, estimate_crop

SETTINGS = FieldOfViewSettings()


def endoscope(
    frames, *, border: float = 0.0, center=(200, 120), radius: int = 90, noise: float = 1.0
) -> list[np.ndarray]:
    """Put frames into a round view on a flat, slightly noisy border."""
    rng = np.random.default_rng(0)
    height, width = frames[0].shape[:2]
    mask = cv2.circle(np.zeros((height, width), np.uint8), center, radius, 1, -1)[..., None]
    dark = np.clip(rng.normal(border, noise, (height, width, 3)), 0, 255)
    return [np.where(mask == 1, frame, dark).astype(np.uint8) for frame in frames]


def overlap(a: CropBox, b: CropBox) -> float:
    """Intersection over union."""
    wide = max(0, min(a.right, b.right) - max(a.left, b.left))
    high = max(0, min(a.bottom, b.bottom) - max(a.top, b.top))
    area = (a.right - a.left) * (a.bottom - a.top) + (b.right - b.left) * (b.bottom - b.top)
    return wide * high / (area - wide * high)


@pytest.fixture
def scenes(scene):
    return [scene(seed, 240, 400) for seed in range(6)]


@pytest.mark.parametrize("border", [0.0, 4.0, 17.0, 25.0])
@pytest.mark.parametrize(("center", "radius"), [((200, 120), 90), ((170, 130), 140)])
def test_circle(scenes, border, center, radius):
    truth = CropBox(
        max(0, center[0] - radius),
        max(0, center[1] - radius),
        min(400, center[0] + radius + 1),
        min(240, center[1] + radius + 1),
    )
    box = estimate_crop(endoscope(scenes, border=border, center=center, radius=radius), SETTINGS)
    assert overlap(box, truth) > 0.96


def test_full_frames_are_untouched(scenes):
    assert estimate_crop(scenes, SETTINGS) == CropBox(0, 0, 400, 240)
    dark = [(frame * 0.15).astype(np.uint8) for frame in scenes]
    assert estimate_crop(dark, SETTINGS) == CropBox(0, 0, 400, 240)


def test_dark_textured_side_is_not_a_border(scenes):
    shade = np.where(np.arange(400) < 80, 0.16, 1.0)[None, :, None]
    shaded = [(frame * shade).astype(np.uint8) for frame in scenes[:1]]  # a still camera sees the same texture always
    assert estimate_crop(shaded, SETTINGS).left == 0


def test_letterbox(scenes):
    for frame in scenes:
        frame[:, :40] = 16
        frame[:, 360:] = 16
    box = estimate_crop(scenes, SETTINGS)
    assert overlap(box, CropBox(40, 0, 360, 240)) > 0.97
    assert (box.top, box.bottom) == (0, 240)


def test_one_box_for_the_video_whatever_single_frames_show(scenes):
    frames = endoscope(scenes)
    alone = estimate_crop(frames, SETTINGS)
    black, flash = np.zeros_like(frames[0]), np.full_like(frames[0], 250)
    assert overlap(estimate_crop([*frames, black, black, flash], SETTINGS), alone) > 0.98


def test_lettering_in_the_border_does_not_widen_the_box(scenes):
    frames = endoscope(scenes)
    alone = estimate_crop(frames, SETTINGS)
    for frame in frames:
        cv2.putText(frame, "CVP 3", (4, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1)
    assert overlap(estimate_crop(frames, SETTINGS), alone) > 0.98


def test_nothing_to_find():
    black = [np.zeros((60, 80, 3), np.uint8)]
    assert estimate_crop(black, SETTINGS) == CropBox(0, 0, 80, 60)
    spot = black[0].copy()
    spot[28:34, 38:44] = 255
    assert estimate_crop([spot], SETTINGS) == CropBox(0, 0, 80, 60)


def test_percentile_100_is_the_union(scenes):
    frames = endoscope(scenes, center=(120, 120)) + endoscope(scenes[:1], center=(280, 120))
    assert estimate_crop(frames, SETTINGS).right < 240
    assert estimate_crop(frames, SETTINGS, percentile=100).right > 360


def test_switched_off(scenes):
    assert estimate_crop(endoscope(scenes), FieldOfViewSettings(enabled=False)) == CropBox(0, 0, 400, 240)


def test_crop(scenes):
    assert crop(scenes[0], CropBox(10, 20, 110, 60)).shape == (40, 100, 3)

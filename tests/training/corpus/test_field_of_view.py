"""The field-of-view box on drawn endoscope pictures."""

import cv2
import numpy as np
import pytest

from training.corpus.field_of_view import (
    Circle,
    CropBox,
    FieldOfViewSettings,
    crop,
    estimate_circle,
    estimate_crop,
    taubin_circle,
)

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


def circle_iou(circle: Circle | None, center, radius: float, height: int = 240, width: int = 400) -> float:
    """Intersection over union of the parts inside the frame."""
    assert circle is not None
    truth = Circle(*center, radius, 1.0).inside(height, width)
    found = circle.inside(height, width)
    return (found & truth).sum() / (found | truth).sum()


@pytest.mark.parametrize("border", [0.0, 17.0])
@pytest.mark.parametrize(
    ("center", "radius"),
    [
        ((200, 120), 90),  # whole
        ((170, 130), 140),  # cut off at top and bottom
        ((200, 60), 110),  # at the top
        ((90, 120), 115),  # at the left
        ((310, 125), 118),  # at the right
        ((200, 120), 215),  # only corners are dark
    ],
)
def test_circle_of_a_round_view(scenes, border, center, radius):
    frames = endoscope(scenes, border=border, center=center, radius=radius)
    circle = estimate_circle(frames, SETTINGS)
    assert circle_iou(circle, center, radius) > 0.98
    assert circle.confidence > 0.95


def test_dark_tissue_at_the_border_is_no_part_of_the_circle(scenes):
    shade = np.where((np.arange(400) < 170) & (np.arange(240)[:, None] > 130), 0.0, 1.0)[..., None]
    frames = endoscope([(frame * shade).astype(np.uint8) for frame in scenes])
    circle = estimate_circle(frames, SETTINGS)
    assert circle_iou(circle, (200, 120), 90) > 0.98
    assert 0.8 < circle.confidence < 0.95  # a quarter of the way around both sides are dark


def test_lettering_in_the_border_does_not_move_the_circle(scenes):
    frames = endoscope(scenes, center=(200, 120), radius=130)
    for frame in frames:
        cv2.putText(frame, "CVP 3 mm", (4, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1)
    circle = estimate_circle(frames, SETTINGS)
    assert circle_iou(circle, (200, 120), 130) > 0.98
    assert circle.confidence >= SETTINGS.mask_confidence


def test_no_circle(scenes):
    assert estimate_circle(scenes, SETTINGS) is None
    assert estimate_circle([np.zeros((60, 80, 3), np.uint8)], SETTINGS) is None
    assert estimate_circle(endoscope(scenes), FieldOfViewSettings(circle=False)) is None
    for frame in scenes:  # pillars and bars: a rectangle, not a circle
        frame[:, :60] = frame[:, 340:] = 16
        frame[:30] = frame[210:] = 16
    assert estimate_circle(scenes, SETTINGS) is None


def test_circle_is_the_same_every_time(scenes):
    frames = endoscope(scenes, center=(170, 130), radius=140)
    assert estimate_circle(frames, SETTINGS) == estimate_circle(frames, SETTINGS)


def test_taubin_fit_of_points_on_a_circle():
    angle = np.linspace(0.2, 1.4, 20)  # a fifth of the way around
    points = np.column_stack([3 + 5 * np.cos(angle), -2 + 5 * np.sin(angle)])
    np.testing.assert_allclose(taubin_circle(points), (3, -2, 5), rtol=1e-9)
    assert taubin_circle(np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [5.0, 5.0]])) is None
    assert taubin_circle(np.zeros((3, 2))) is None


def test_circle_in_stored_pixels():
    stored = Circle(cx=99.5, cy=59.5, radius=40, confidence=0.9).stored(CropBox(20, 20, 180, 100), 80, 40)
    assert stored == Circle(cx=39.5, cy=19.5, radius=20, confidence=0.9)  # the middle of both
    assert stored.inside(40, 80).sum() == pytest.approx(np.pi * 20**2, rel=0.01)

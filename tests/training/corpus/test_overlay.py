"""The search for overlays on drawn videos: what is found, and what must not be taken for one."""

import cv2
import numpy as np
import pytest

from training.corpus.field_of_view import Circle
from training.corpus.overlay import OverlaySettings, find_overlay
from training.errors import UserError

SETTINGS = OverlaySettings()
HEIGHT, WIDTH = 200, 320


@pytest.fixture
def video(moving) -> list[np.ndarray]:
    """Twelve frames, 5 seconds apart, of a scene that moves, with the noise of a codec."""
    rng = np.random.default_rng(0)
    frames = moving(14, height=HEIGHT, width=WIDTH)[::12]
    return [np.clip(frame + rng.normal(0, 2, frame.shape), 0, 255).astype(np.uint8) for frame in frames]


def write(frames, text: str = "DOE JOHN 1961", at=(20, 40), color=(255, 255, 255)) -> np.ndarray:
    """Burn a line of text into frames, in place; returns its pixels."""
    pixels = np.zeros(frames[0].shape[:2], np.uint8)
    cv2.putText(pixels, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1, cv2.LINE_AA)
    for frame in frames:
        blend = pixels[..., None] / 255
        frame[:] = frame * (1 - blend) + np.array(color) * blend
    return pixels > 50


def search(frames, settings=SETTINGS, seconds: float = 60.0, circle: Circle | None = None):
    return find_overlay(frames, settings, seconds=seconds, circle=circle)


def round_view(frames) -> tuple[list[np.ndarray], Circle]:
    circle = Circle(160.0, 100.0, 120.0, 1.0)
    return [frame * circle.inside(HEIGHT, WIDTH)[..., None] for frame in frames], circle


def test_burned_in_text_is_covered_and_little_else(video):
    pixels = write(video)
    found = search(video)
    assert found.outcome == "found"
    assert found.hidden.shape == (HEIGHT, WIDTH)
    assert found.hidden.dtype == bool
    assert found.hidden[pixels].mean() > 0.98
    rows, columns = np.nonzero(pixels)
    around = np.zeros_like(found.hidden)
    around[rows.min() - 5 : rows.max() + 6, columns.min() - 5 : columns.max() + 6] = True
    assert found.hidden[around].mean() > 0.5
    assert not found.hidden[~around].any()


@pytest.mark.parametrize("known", [False, True])
def test_text_in_the_dark_border_is_found_and_the_border_is_not(video, known):
    frames, circle = round_view(video)
    circle = circle if known else None
    assert search(frames, circle=circle).outcome == "none"
    pixels = write(frames, "ID 7", at=(2, 15))
    found = search(frames, circle=circle)
    assert found.hidden[pixels].mean() > 0.9
    assert not found.hidden[:, 60:].any()


def test_panel_is_covered_with_its_inside(video):
    for frame in video:
        frame[140:180, 20:90] = (30, 60, 140)
    found = search(video)
    panel = np.zeros((HEIGHT, WIDTH), bool)
    panel[140:180, 20:90] = True
    assert (found.hidden & panel).sum() / panel.sum() > 0.95
    assert (found.hidden & panel).sum() / found.hidden.sum() > 0.8


def test_frame_around_an_inset_does_not_hide_the_inset(video):
    for frame in video:
        cv2.rectangle(frame, (180, 30), (300, 150), (255, 255, 255), 2)
    found = search(video)
    assert found.hidden[30, 180:300].all()
    assert not found.hidden[60:120, 210:270].any()


def test_a_fifth_of_the_frames_may_be_without_it(video):
    clean = [frame.copy() for frame in video[:2]]
    pixels = write(video)
    assert search([*clean, *video[2:]]).hidden[pixels].mean() > 0.9
    clean = [frame.copy() for frame in video]
    write(clean, at=(20, 120))
    for index in range(0, len(video), 2):  # shown half of the time: not found, as the module says
        video[index] = clean[index]
    assert not search(video).hidden[100:130].any()


def test_scene_without_overlay(video):
    found = search(video)
    assert (found.hidden, found.outcome) == (None, "none")


def test_static_scene_is_not_judged(scene):
    rng = np.random.default_rng(1)
    still = scene(3, HEIGHT, WIDTH)
    frames = [np.clip(still + rng.normal(0, 2, still.shape), 0, 255).astype(np.uint8) for _ in range(12)]
    write(frames)
    found = search(frames)
    assert (found.hidden, found.outcome) == (None, "static")


def test_too_short_to_be_judged(video):
    write(video)
    few, brief = search(video[:4]), search(video, seconds=3.0)
    assert (few.hidden, few.outcome) == (brief.hidden, brief.outcome) == (None, "short")
    dark = [np.zeros_like(frame) for frame in video]
    assert search([*video[:4], *dark]).outcome == "short"  # black frames show nothing


def test_a_picture_that_mostly_stands_still_is_no_overlay(video, scene):
    still = scene(5, HEIGHT, WIDTH)
    for frame in video:
        frame[:, :145] = still[:, :145]
        cv2.rectangle(frame, (0, 0), (144, HEIGHT - 1), (255, 255, 255), 3)
    found = search(video, OverlaySettings(max_share=0.3))
    assert (found.hidden, found.outcome) == (None, "static")


def test_inputs_stay_and_the_answer_is_the_same_again(video):
    write(video)
    before = [frame.copy() for frame in video]
    first, second = search(video), search(video)
    np.testing.assert_array_equal(first.hidden, second.hidden)
    for frame, copy in zip(video, before, strict=True):
        np.testing.assert_array_equal(frame, copy)


def test_unknown_action():
    with pytest.raises(
        UserError, match=r"unknown overlay.action 'blac'. Did you mean 'black'\? Known: black, blur, mask"
    ):
        OverlaySettings(action="blac")


@pytest.mark.parametrize("box", [(0, 0, 1.2, 0.1), (0.9, 0, 0.2, 0.1), (0, 0, 0, 1), (0, 0, 1), (0, "a", 1, 1)])
def test_impossible_box(box):
    with pytest.raises(
        UserError, match=r"setting overlay.boxes has \[0.*\]: a box is x, y, width, height as fractions"
    ):
        OverlaySettings(boxes=((0, 0, 1, 0.1), box))

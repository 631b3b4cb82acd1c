"""The field-of-view box: as the corpus builder finds it, on drawn pictures and on genuine ones."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from modeling_zen import field_of_view_zen as module
from modeling_zen.field_of_view_zen import field_of_view_box, paste_field_of_view, spread
from training.corpus.field_of_view import FieldOfViewSettings, estimate_crop

REALDATA = os.environ.get("ZEN_REALDATA", "")
HEIGHT, WIDTH = 216, 384


def scenes(count: int = 6, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Smooth reddish pictures, uint8 (count, height, width, 3)."""
    cells = np.random.default_rng(0).integers(60, 220, (count, 6, 8, 3), dtype=np.uint8)
    return np.stack([cv2.resize(each, (width, height), interpolation=cv2.INTER_CUBIC) for each in cells])


def in_circle(frames: np.ndarray, center: tuple[int, int], radius: int, border: float) -> np.ndarray:
    """Frames in a round view on a slightly noisy border."""
    rows, columns = np.mgrid[: frames.shape[1], : frames.shape[2]]
    inside = (columns - center[0]) ** 2 + (rows - center[1]) ** 2 <= radius**2
    dark = np.random.default_rng(1).normal(border, 1.0, frames.shape).clip(0, 255)
    return np.where(inside[..., None], frames, dark).astype(np.uint8)


def reference(frames: np.ndarray) -> tuple[int, int, int, int]:
    box = estimate_crop(list(frames), FieldOfViewSettings())
    return box.left, box.top, box.right, box.bottom


def assert_equal_to_reference(frames: np.ndarray) -> tuple[int, int, int, int]:
    """The same box within a pixel, whichever way round the channels are; returns it."""
    box = field_of_view_box(torch.from_numpy(frames))
    assert box == field_of_view_box(torch.from_numpy(frames).permute(0, 3, 1, 2))
    assert np.abs(np.subtract(box, reference(frames))).max() <= 1, (box, reference(frames))
    return box


def test_the_numbers_are_those_of_the_corpus() -> None:
    settings = FieldOfViewSettings()
    names = ("frames", "min_level", "contrast", "max_border", "min_margin", "min_size", "flatness", "flat_fraction")
    assert [getattr(settings, name) for name in names] == [getattr(module, name.upper()) for name in names]


@pytest.mark.parametrize("border", [0.0, 4.0, 17.0, 25.0])
@pytest.mark.parametrize(("center", "radius"), [((200, 110), 85), ((170, 120), 140)])
def test_round_views(border: float, center: tuple[int, int], radius: int) -> None:
    box = assert_equal_to_reference(in_circle(scenes(), center, radius, border))
    left, right = max(0, center[0] - radius), min(WIDTH, center[0] + radius + 1)
    assert (box[0], box[2]) == (pytest.approx(left, abs=6), pytest.approx(right, abs=6))  # 2 % of a side


@pytest.mark.parametrize("level", [0, 16, 30])
def test_letterbox(level: int) -> None:
    frames = scenes(3)
    frames[:, :24] = frames[:, 190:] = level
    box = assert_equal_to_reference(frames)
    assert box == (0, pytest.approx(24, abs=2), WIDTH, pytest.approx(190, abs=2))


@pytest.mark.parametrize("size", [(1080, 1920), (480, 854), (240, 300), (101, 77)])
def test_sizes(size: tuple[int, int]) -> None:
    """Reduced by a whole number, by a fraction, not at all."""
    height, width = size
    frames = in_circle(scenes(1, height, width), (width // 2, height // 2), int(0.4 * min(size)), 3.0)
    left, _, right, _ = assert_equal_to_reference(frames)
    assert right - left < 0.95 * width


def test_content_is_never_cut() -> None:
    """Full frames, dark ones, a dark textured side, a light in the dark, a border brighter than borders are."""
    whole = (0, 0, WIDTH, HEIGHT)
    frames = scenes()
    shaded = frames[:1].copy()
    shaded[:, :, :80] = np.linspace(2, 30, HEIGHT)[:, None, None]
    spot = np.zeros_like(frames[:1])
    spot[:, 100:112, 100:120] = 255
    bright = frames.copy()
    bright[:, :, :60] = 40
    for each in (frames, (frames * 0.15).astype(np.uint8), np.zeros_like(frames), spot, bright):
        assert assert_equal_to_reference(each) == whole
    assert assert_equal_to_reference(shaded)[0] == 0


def test_one_box_whatever_single_frames_show() -> None:
    frames = in_circle(scenes(), (200, 110), 85, 0.0)
    alone = field_of_view_box(torch.from_numpy(frames))
    black, flash = np.zeros_like(frames[:2]), np.full_like(frames[:1], 250)
    assert np.abs(np.subtract(assert_equal_to_reference(np.concatenate([frames, black, flash])), alone)).max() <= 3
    for frame in frames:
        cv2.putText(frame, "CVP 3", (4, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1)
    assert np.abs(np.subtract(assert_equal_to_reference(frames), alone)).max() <= 3


def test_the_largest_of_many_regions() -> None:
    """Noise has regions of every shape; a spiral is one region that meets itself late."""
    for seed in range(5):
        content = np.random.default_rng(seed).random((40, 60)) < 0.55
        content[:, ::7] &= np.random.default_rng(seed + 9).random((40, 9)) < 0.2
        count, _, stats, _ = cv2.connectedComponentsWithStats(content.astype(np.uint8), connectivity=4)
        assert count > 5
        box = module._largest_region(torch.from_numpy(content))
        assert box is not None
        left, top, width, height = stats[1 + stats[1:, cv2.CC_STAT_AREA].argmax(), :4]
        assert np.abs(np.subtract(box, (left, top, left + width, top + height))).max() <= 2  # without thin spurs
    spiral = torch.zeros(9, 9, dtype=torch.bool)
    for step in range(0, 9, 2):
        spiral[step] = True
    spiral[1, 8] = spiral[3, 0] = spiral[5, 8] = spiral[7, 0] = True
    assert module._largest_region(spiral) == (0, 0, 9, 9)


def test_bad_frames() -> None:
    for frames in (torch.zeros(2, 3, 4, 4), torch.zeros(3, 8, 8).byte(), torch.zeros(2, 4, 8, 8).byte()):
        with pytest.raises(ValueError, match=r"^frames must be uint8 \(n, 3, height, width\) or .*, got \w+ \("):
            field_of_view_box(frames)
    with pytest.raises(ValueError, match=r"^frames are empty: \(0, 3, 8, 8\)$"):
        field_of_view_box(torch.zeros(0, 3, 8, 8).byte())


def test_spread() -> None:
    assert spread(3) == [0, 1, 2]
    assert spread(100, 4) == [12, 37, 62, 87]
    assert spread(24) == list(range(24))
    assert len(set(spread(1000))) == 24


def test_maps_are_laid_back() -> None:
    whole = paste_field_of_view(torch.ones(2, 2, 3), (1, 1, 4, 3), 4, 5, fill=-1.0)
    expected = torch.full((2, 4, 5), -1.0)
    expected[:, 1:3, 1:4] = 1
    assert torch.equal(whole, expected)
    with pytest.raises(ValueError, match=r"^maps of \(2, 2\) do not fill the box \(1, 1, 4, 3\) in \(4, 5\)$"):
        paste_field_of_view(torch.ones(2, 2), (1, 1, 4, 3), 4, 5)
    with pytest.raises(ValueError, match=r"do not fill the box"):
        paste_field_of_view(torch.ones(2, 3), (3, 1, 6, 3), 4, 5)
    with pytest.raises(ValueError, match=r"do not fill the box"):
        paste_field_of_view(torch.ones(0, 3), (1, -2, 4, -2), 4, 5)


@pytest.mark.realdata
@pytest.mark.skipif(not REALDATA, reason="set ZEN_REALDATA to the folder of genuine data")
def test_genuine_frames() -> None:
    """Laparoscopy, colonoscopy and sinus endoscopy, frame by frame, and the sinus sequence as one video."""
    files = sorted(Path(REALDATA).glob("*/**/*.jpg"))
    images = [file for file in files if "masks" not in file.parts and "mask" not in file.stem]
    assert len(images) > 100
    cut = 0
    for file in images[:: len(images) // 40]:
        frame = np.array(Image.open(file).convert("RGB"))
        cut += assert_equal_to_reference(frame[None]) != (0, 0, frame.shape[1], frame.shape[0])
    assert cut > 5
    sinus = [file for file in images if "sinus-endoscopy-sfm" in file.parts][::9]
    left, top, right, bottom = assert_equal_to_reference(np.stack([np.asarray(Image.open(file)) for file in sinus]))
    assert (right - left) * (bottom - top) < 0.9 * 1920 * 1080

"""Small videos, stills and settings for the corpus tests, made from code."""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from training.corpus.curation import curate
from training.corpus.decoder_process import DecodingSettings
from training.corpus.filters import FilterSettings
from training.corpus.filters.blur import BlurSettings
from training.corpus.filters.duplicate import DuplicateSettings
from training.corpus.filters.out_of_body import OutOfBodySettings
from training.corpus.filters.screen import ScreenSettings
from training.corpus.settings import CurationSettings

FPS = 10.0  # of the test videos: few frames, several seconds


def draw_scene(seed: int, height: int = 96, width: int = 128) -> np.ndarray:
    """A smooth reddish picture, uint8 (H, W, 3) RGB; other seeds look different."""
    cells = np.random.default_rng(seed).integers(40, 220, (6, 8, 3), dtype=np.uint8)
    cells[..., 0] = np.maximum(cells[..., 0], 120)
    return cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC)


def draw_video(seconds: float, seed: int = 0, height: int = 96, width: int = 128) -> list[np.ndarray]:
    """A scene that moves sideways by three pixels a frame."""
    scene = draw_scene(seed, height, width)
    return [np.roll(scene, 3 * number, axis=1) for number in range(round(seconds * FPS))]


def save_video(path: Path, frames: Sequence[np.ndarray], fps: float = FPS, codec: str = "mp4v") -> Path:
    """Encode uint8 (H, W, 3) RGB frames; the container follows the file name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), fps, (width, height))
    assert writer.isOpened(), path
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def save_still(path: Path, frame: np.ndarray) -> Path:
    """Write one uint8 (H, W, 3) RGB image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    return path


def move_index_first(video: bytes) -> bytes:
    """An MP4 with its `moov` box before `mdat` ("fast start"), as streaming sites serve it."""
    boxes, position = {}, 0
    order = []
    while position < len(video):
        size, kind = struct.unpack(">I4s", video[position : position + 8])
        boxes[kind] = video[position : position + size]
        order.append(kind)
        position += size
    moov = bytearray(boxes[b"moov"])
    assert order.index(b"moov") > order.index(b"mdat")
    table = moov.index(b"stco") + 8
    (count,) = struct.unpack(">I", moov[table : table + 4])
    for entry in range(table + 4, table + 4 + 4 * count, 4):
        (offset,) = struct.unpack(">I", moov[entry : entry + 4])
        moov[entry : entry + 4] = struct.pack(">I", offset + len(moov))
    rest = [boxes[kind] for kind in order if kind not in (b"ftyp", b"moov")]
    return boxes[b"ftyp"] + bytes(moov) + b"".join(rest)


@pytest.fixture
def scene() -> Callable[..., np.ndarray]:
    return draw_scene


@pytest.fixture
def moving() -> Callable[..., list[np.ndarray]]:
    return draw_video


@pytest.fixture
def write_video() -> Callable[..., Path]:
    return save_video


@pytest.fixture
def write_still() -> Callable[..., Path]:
    return save_still


@pytest.fixture
def fast_start() -> Callable[[bytes], bytes]:
    return move_index_first


# The drawn scenes are soft, of all colors, and move so little that most frames would go.
DRAWN = FilterSettings(
    out_of_body=OutOfBodySettings(enabled=False),
    screen=ScreenSettings(enabled=False),
    blur=BlurSettings(enabled=False),
    duplicate=DuplicateSettings(enabled=False),
)


def make_settings(**changes: object) -> CurationSettings:
    """Settings for tests: small frames, short patience, one decoder thread, no worker processes to wait for."""
    defaults = {
        "engine": "inline",
        "short_side": 64,
        "deidentify": False,  # readable names in what is asserted; test_identity.py tests the hashed ones
        "decoding": DecodingSettings(threads=1, stall_seconds=10),
        "filters": DRAWN,
    }
    values = defaults | changes
    return CurationSettings(**values)  # type: ignore[arg-type]


@pytest.fixture
def settings() -> Callable[..., CurationSettings]:
    return make_settings


def circle(frame: np.ndarray) -> np.ndarray:
    """A frame as a round endoscope view: center (64, 48), radius 40, black around it."""
    mask = cv2.circle(np.zeros(frame.shape[:2], np.uint8), (64, 48), 40, 1, -1)
    return frame * mask[..., None]


@pytest.fixture(scope="session")
def mixed_input(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An input folder with a bit of everything; treat it as read-only.

    At 1 fps it holds 42 samples: case1.mp4 12 (4 moving, 3 black, 3 frozen after the first, 2 moving), case2.mp4 4,
    seq 20 stills, far 3 stills, and three stills that cannot be read.
    """
    root = tmp_path_factory.mktemp("mixed") / "data"
    first = draw_video(12, seed=1)
    first[40:70] = [np.zeros_like(first[0])] * 30
    first[70:100] = [first[70]] * 30
    save_video(root / "lap" / "case1.mp4", first)
    save_video(root / "lap" / "val" / "case2.mp4", [circle(frame) for frame in draw_video(4, seed=2)])
    for number in range(20):
        save_still(root / "seq" / f"{number + 5:04d}.jpg", np.roll(draw_scene(4), 2 * number, axis=1))
    for number in (0, 750, 1500):
        save_still(root / "far" / f"10_{number}.png", draw_scene(number))
        save_still(root / "far" / "masks" / f"10_{number}.png", draw_scene(number))
    (root / "notes.md").write_text("# notes")
    (root / "far" / "labels.json").write_text("{}")
    (root / ".hidden.mp4").write_text("x")
    (root / "broken").mkdir()
    (root / "broken" / "empty.mp4").write_bytes(b"")
    (root / "broken" / "text.mp4").write_text("not a video")
    (root / "broken" / "empty.jpg").write_bytes(b"")
    (root / "broken" / "text.png").write_text("not a picture")
    (root / "broken" / "cut.jpg").write_bytes((root / "seq" / "0005.jpg").read_bytes()[:900])
    return root


@pytest.fixture(scope="session")
def mixed_corpus(mixed_input: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus of `mixed_input` with the settings of `settings()`; treat it as read-only."""
    out = tmp_path_factory.mktemp("corpus") / "out"
    curate([mixed_input], out, make_settings())
    return out


@pytest.fixture(scope="session")
def video_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An MP4 of 4 seconds (40 frames, 10 fps, 128 x 96)."""
    return save_video(tmp_path_factory.mktemp("video") / "moving.mp4", draw_video(4)).read_bytes()

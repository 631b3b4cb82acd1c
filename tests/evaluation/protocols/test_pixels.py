import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evaluation.datasets import FrameReference
from evaluation.frames import resize
from evaluation.protocols import pixels as pixels_module
from evaluation.protocols.pixels import Pixels
from training.errors import UserError


@pytest.fixture
def frames(tmp_path: Path) -> list[FrameReference]:
    rng = np.random.default_rng(0)
    files = [tmp_path / "images" / f"{number}.png" for number in range(5)]
    files[0].parent.mkdir()
    for file in files:
        Image.fromarray(rng.integers(0, 256, (6, 9, 3), np.uint8)).save(file)
    return [FrameReference(file) for file in files]


def test_every_frame_is_decoded_once_and_read_in_any_order(
    frames: list[FrameReference], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[FrameReference] = []

    def counting(wanted: Any, size: int) -> Any:
        asked.extend(wanted)
        return decode(wanted, size)

    decode = pixels_module.decode
    monkeypatch.setattr(pixels_module, "decode", counting)
    with Pixels(8) as pixels:
        pixels.add(frames[:3] + frames[:2])
        pixels.add(frames[1:])
        pixels.add(frames)
        order = [frames[4], frames[0], frames[0], frames[2]]
        read = pixels.read(order)
    assert sorted(asked, key=str) == sorted(frames, key=str)
    assert pixels.decoded == 5
    for image, frame in zip(read, order, strict=True):
        assert np.array_equal(image, resize(np.asarray(Image.open(frame.path)), 8))


def test_nothing_is_left_in_the_folder(frames: list[FrameReference], tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    with Pixels(8, folder) as pixels:
        pixels.add(frames)
        assert pixels.read(frames).shape == (5, 8, 8, 3)
    assert list(folder.iterdir()) == []
    with pytest.raises(KeyError):
        pixels.read(frames)


def test_a_frame_that_cannot_be_decoded_leaves_the_others(frames: list[FrameReference], tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    with Pixels(8) as pixels:
        pixels.add(frames[:2])
        with pytest.raises(UserError, match=r"broken\.png' cannot be decoded"):
            pixels.add([*frames, FrameReference(tmp_path / "broken.png")])
        assert pixels.read(frames[:2]).shape == (2, 8, 8, 3)
        pixels.add(frames)
        assert pixels.decoded == 5


def test_a_disk_that_is_too_small(
    frames: list[FrameReference], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=959)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with (
        Pixels(8, tmp_path) as pixels,
        pytest.raises(
            UserError,
            match=r"^the pixels of 5 frames at 8 px need 9\.6e-07 GB in '.*'; name a folder on a larger disk for them, "
            r"or choose a smaller image size$",
        ),
    ):
        pixels.add(frames)


def test_a_folder_that_does_not_exist(frames: list[FrameReference], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^the folder for pixels, '.*nowhere', does not exist$"):
        Pixels(8, tmp_path / "nowhere").add(frames)

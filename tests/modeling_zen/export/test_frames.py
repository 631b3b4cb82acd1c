"""`load_frames`: what is taken, in which order, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from modeling_zen import ZenImageProcessor
from modeling_zen.export import load_frames

PROCESSOR = ZenImageProcessor(size={"height": 16, "width": 32})


def video(path: Path, count: int) -> Path:
    """`count` frames of 32 x 32 pixels, each of one gray level: 0, 8, 16, ..."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for index in range(count):
            pixels = np.full((32, 32, 3), 8 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_frames_are_spread_evenly_and_made_by_the_processor() -> None:
    images = [np.full((20, 20, 3), index, np.uint8) for index in range(10)]
    found, labels = load_frames(images, PROCESSOR, limit=5)
    assert labels is None
    torch.testing.assert_close(found, PROCESSOR(images[::2], return_tensors="pt")["pixel_values"])


def test_a_folder_gives_images_and_videos_half_and_half(frames: Path, tmp_path: Path) -> None:
    video(tmp_path / "a.mp4", 12)
    for path in sorted(frames.rglob("*.png"))[:8]:
        Image.open(path).save(tmp_path / path.name)
    found, _ = load_frames(tmp_path, PROCESSOR, limit=8)
    assert found.shape == (8, 3, 16, 32)
    levels = found[4:, 1].mean(dim=(1, 2)) * 0.224 * 255 + 0.456 * 255  # green of the frames 0, 3, 6, 9
    torch.testing.assert_close(levels, torch.tensor([0.0, 24.0, 48.0, 72.0]), atol=4, rtol=0)


def test_folders_below_are_classes(frames: Path) -> None:
    found, labels = load_frames(frames, PROCESSOR, limit=4, labeled=True)
    assert len(found) == 4
    assert labels == ["dark", "dark", "light", "light"]


def test_unusable_sources_are_refused(frames: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        load_frames(tmp_path / "nowhere", PROCESSOR)
    with pytest.raises(ValueError, match=r"holds no image .* and no video"):
        load_frames(tmp_path, PROCESSOR)
    with pytest.raises(ValueError, match="the list of frames is empty"):
        load_frames([], PROCESSOR)
    with pytest.raises(ValueError, match="limit must be at least 1"):
        load_frames(frames, PROCESSOR, limit=0)
    with pytest.raises(ValueError, match="give one folder that holds a folder of images per class"):
        load_frames([np.zeros((8, 8, 3), np.uint8)], PROCESSOR, labeled=True)
    with pytest.raises(ValueError, match="lies in no folder of a class"):
        load_frames(frames / "dark", PROCESSOR, labeled=True)
    (tmp_path / "broken.png").write_bytes(next(frames.rglob("*.png")).read_bytes()[:60])
    with pytest.raises(ValueError, match=r"broken\.png cannot be read"):
        load_frames(tmp_path, PROCESSOR)

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from evaluation.datasets import FrameReference
from evaluation.frames import CorpusFrame, decode, resize, sort_key
from training.errors import UserError


@pytest.fixture(scope="module")
def gray_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty frames whose gray value is six times their number."""

    path = tmp_path_factory.mktemp("videos") / "gray.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10.0, (64, 48))
    for index in range(40):
        writer.write(np.full((48, 64, 3), 6 * index, dtype=np.uint8))
    writer.release()
    return path


def test_native_frame_numbers(gray_video: Path) -> None:
    wanted = [0, 2, 17, 33, 39]
    frames = list(decode([FrameReference(gray_video, index) for index in wanted], 32))
    assert [round((frame.mean() + 3) / 6) for frame in frames] == wanted
    assert all(frame.shape == (32, 32, 3) and frame.dtype == np.uint8 for frame in frames)


def test_all_sources_in_the_order_given(gray_video: Path, endoscapes_folder: Path, corpus_folder: Path) -> None:
    still = endoscapes_folder / "train" / "images" / "1_750.jpg"
    order = [
        CorpusFrame(corpus_folder, "corpus3-0", 2),
        FrameReference(still),
        FrameReference(gray_video, 20),
        CorpusFrame(corpus_folder, "corpus3-0", 2),
    ]
    frames = list(decode(order, 64))
    assert (frames[0] == frames[3]).all()
    assert frames[2].mean() == pytest.approx(117, abs=2)  # 120, less what the encoder takes
    with Image.open(still) as image:
        assert (frames[1] == np.asarray(image.resize((64, 64), Image.Resampling.BICUBIC))).all()


def test_sorted_frames_open_each_file_once(gray_video: Path, corpus_folder: Path) -> None:
    frames = [FrameReference(gray_video, 9), CorpusFrame(corpus_folder, "c", 1), FrameReference(gray_video, 10)]
    assert sorted(frames, key=sort_key).index(frames[2]) - sorted(frames, key=sort_key).index(frames[0]) == 1


def test_resize_keeps_a_fitting_frame_and_squares_others() -> None:
    image = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    assert resize(image, 32) is image
    assert resize(image[:20], 16).shape == (16, 16, 3)


def test_errors_name_the_file(gray_video: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"video '.*gray.mp4' has 40 frames; frame 40 was asked for"):
        list(decode([FrameReference(gray_video, 40)], 32))
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    with pytest.raises(UserError, match=r"video '.*broken.mp4' cannot be decoded .*; it is damaged or no video"):
        list(decode([FrameReference(broken, 0)], 32))
    still = tmp_path / "broken.jpg"
    still.write_bytes(b"no image")
    with pytest.raises(UserError, match=r"image '.*broken.jpg' cannot be decoded"):
        list(decode([FrameReference(still)], 32))

"""Sampling times, and the two readers on the same files."""

import importlib.util

import numpy as np
import pytest

from training.corpus.decoding import (
    READERS,
    DecodeError,
    VideoFacts,
    check_reader,
    facts_of,
    lost_tail,
    open_video,
    sample_indices,
)
from training.errors import UserError


def coded(number: int) -> np.ndarray:
    """A picture that shows its frame number: eight squares, one per bit."""
    bits = np.array([(number >> bit) & 1 for bit in range(8)], np.uint8) * 200 + 20
    return np.repeat(np.kron(bits.reshape(2, 4), np.ones((32, 32), np.uint8))[..., None], 3, axis=2)


def number_of(frame: np.ndarray) -> int:
    cells = frame[..., 1].reshape(2, 32, 4, 32).mean(axis=(1, 3)).reshape(-1) > 120
    return int(sum(1 << bit for bit, on in enumerate(cells) if on))


@pytest.mark.parametrize(
    ("native", "fps", "expected"),
    [
        (25.0, 1.0, [0, 25, 50, 75]),
        (25.0, 2.0, [0, 12, 25, 37, 50, 62, 75, 87]),  # 12.5 is as near to 12 as to 13: the earlier one
        (30000 / 1001, 1.0, [0, 30, 60, 90]),
        (2.0, 5.0, list(range(100))),
        (25.0, 0.5, [0, 50]),
    ],
)
def test_sample_indices(native, fps, expected):
    assert sample_indices(np.arange(100) / native, fps).tolist() == expected


def test_sample_indices_of_variable_rate_and_of_nothing():
    times = np.array([0.0, 0.4, 1.1, 1.2, 5.0, 5.1])
    assert sample_indices(times, 1.0).tolist() == [0, 2, 3, 4]  # the times 2 to 5 s; no frame twice
    assert sample_indices(np.zeros(0), 1.0).tolist() == []
    assert sample_indices(np.zeros(1), 1.0).tolist() == [0]


@pytest.mark.parametrize("reader", READERS.names())
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_readers_give_the_frame_with_that_number(tmp_path, write_video, reader, name):
    path = write_video(tmp_path / name, [coded(number) for number in range(60)], fps=25)
    video = open_video(path, reader, 1)
    facts = facts_of(video, path)
    assert (facts.frame_count, facts.fps, facts.note) == (60, 25.0, "")
    np.testing.assert_allclose(facts.timestamps, np.arange(60) / 25, atol=1e-9)
    assert facts.stated_seconds == pytest.approx(2.4, abs=0.05)
    wanted = [0, 1, 7, 24, 25, 59, 3]  # forward, and back once
    frames = [video.read(index) for index in wanted]
    assert [number_of(frame) for frame in frames] == wanted
    assert frames[0].shape == (64, 128, 3)
    assert frames[0].dtype == np.uint8


def test_readers_agree_on_pixels_and_colors(tmp_path, write_video, moving):
    path = write_video(tmp_path / "a.mp4", moving(1))
    one, other = (open_video(path, reader, 1).read(4).astype(int) for reader in ("decord", "opencv"))
    assert np.abs(one - other).mean() < 1.0
    assert np.abs(one - moving(1)[4]).mean() < 8.0  # RGB, not BGR


@pytest.mark.parametrize("content", [b"", b"this is a text file\n" * 100, bytes(range(256)) * 50])
@pytest.mark.parametrize("reader", READERS.names())
def test_what_is_no_video(tmp_path, reader, content):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(DecodeError, match=rf"^{reader}: ") as caught:
        open_video(path, reader, 1)
    assert str(tmp_path) not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_opencv_rescues_a_truncated_fast_start_file(tmp_path, video_bytes, fast_start):
    path = tmp_path / "a.mp4"
    path.write_bytes(fast_start(video_bytes))
    whole = open_video(path, "decord", 1)
    assert whole.note == ""
    path.write_bytes(fast_start(video_bytes)[: len(video_bytes) * 2 // 3])
    rescued = open_video(path, "decord", 1)
    assert rescued.note.endswith("read with opencv instead")
    assert np.abs(rescued.read(5).astype(int) - whole.read(5)).mean() < 1.0
    with pytest.raises(DecodeError, match="no frame after frame"):
        rescued.read(39)


def test_a_container_that_promises_more_than_it_holds():
    def tail(frames: int, stated: float, fps: float = 1.0):
        return lost_tail(VideoFacts(frames, 10.0, np.arange(frames) / 10, [], stated, ""), fps)

    assert tail(40, 4.0) is None
    assert tail(40, 5.0) is None  # audio that runs on
    assert tail(40, 9.0) == (4.0, 8.0, 5)
    assert tail(40, 9.0, fps=0.5) == (4.0, 8.0, 3)
    assert tail(980, 100.0) is None  # 2 %


def test_reader_names_and_the_missing_library(monkeypatch):
    check_reader("decord")
    with pytest.raises(
        UserError, match=r"unknown video reader 'decored'. Did you mean 'decord'\? Known: decord, opencv"
    ):
        check_reader("decored")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"`pip install decord` \(Linux x86_64\), or set decoding.reader=opencv"):
        check_reader("decord")
    check_reader("opencv")

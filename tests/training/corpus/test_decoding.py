"""Sampling times, and the readers as the corpus uses them."""

import importlib.util
import subprocess
import sys
from typing import Any

import av
import numpy as np
import pytest

from training.corpus import deinterlacing
from training.corpus.decoding import (
    DecodeError,
    VideoFacts,
    check_reader,
    choose_frames,
    facts_of,
    lost_tail,
    open_video,
    read_arrays,
)
from training.errors import UserError


def coded(number: int) -> np.ndarray:
    """A picture that shows its frame number: eight squares, one per bit."""
    bits = np.array([(number >> bit) & 1 for bit in range(8)], np.uint8) * 200 + 20
    return np.repeat(np.kron(bits.reshape(2, 4), np.ones((32, 32), np.uint8))[..., None], 3, axis=2)


def number_of(frame: np.ndarray) -> int:
    cells = frame[..., 1].reshape(2, 32, 4, 32).mean(axis=(1, 3)).reshape(-1) > 120
    return int(sum(1 << bit for bit, on in enumerate(cells) if on))


def facts(times: Any, keyframes: list[int] | None = None, fps: float = 10.0, stated: float = 0.0) -> VideoFacts:
    return VideoFacts(len(times), fps, np.asarray(times, float), keyframes or [], stated, "")


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
def test_sampling_times(native, fps, expected):
    sampling = choose_frames(facts(np.arange(100) / native), fps, "exact")
    assert sampling.indices.tolist() == expected
    assert sampling.error_max <= 0.5 / native + 1e-9


def test_sampling_of_variable_rate_and_of_nothing():
    times = [0.0, 0.4, 1.1, 1.2, 5.0, 5.1]
    sampling = choose_frames(facts(times), 1.0, "exact")
    assert sampling.indices.tolist() == [0, 2, 3, 4]  # the times 2 to 5 s; no frame twice
    # 0, 0.1, |1.2 - 2|, |1.2 - 3|, 1 (frame 4 for 4 s), 0
    assert (sampling.error_mean, sampling.error_max) == (pytest.approx((0.1 + 0.8 + 1.8 + 1.0) / 6), pytest.approx(1.8))
    assert choose_frames(facts([]), 1.0, "exact").indices.tolist() == []
    assert choose_frames(facts([0.0]), 1.0, "exact").indices.tolist() == [0]


def test_sampling_of_keyframes():
    """Key frames at 0, 2.5 and 5 s; the times 0 to 5 s are answered by 0, 0, 2.5, 2.5, 5, 5."""
    sampling = choose_frames(facts(np.arange(60) / 10, [0, 25, 50]), 1.0, "keyframes")
    assert sampling.indices.tolist() == [0, 25, 50]
    assert (sampling.error_mean, sampling.error_max) == (pytest.approx((0 + 1 + 0.5 + 0.5 + 1 + 0) / 6), 1.0)
    with pytest.raises(DecodeError, match=r"states no times of its key frames, which decoding\.mode=keyframes needs"):
        choose_frames(facts(np.arange(60) / 10), 1.0, "keyframes")


@pytest.mark.parametrize("reader", ["auto", "decord", "pyav"])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_readers_give_the_frame_with_that_number(tmp_path, write_video, reader, name):
    path = write_video(tmp_path / name, [coded(number) for number in range(60)], fps=25)
    video = open_video(path, reader, 1, "auto")
    told = facts_of(video)
    assert (told.frame_count, told.fps, told.note, told.deinterlaced) == (60, 25.0, "", False)
    np.testing.assert_allclose(told.timestamps, np.arange(60) / 25, atol=1e-6)
    assert told.keyframes[0] == 0
    assert told.stated_seconds == pytest.approx(2.4, abs=0.05)
    for wanted in ([0, 1, 7, 24, 25, 59], [3], told.keyframes):  # forward, and back
        frames = list(read_arrays(video, wanted, path))
        assert [number_of(frame) for frame in frames] == wanted
        assert (frames[0].shape, frames[0].dtype) == ((64, 128, 3), np.uint8)


def test_readers_agree_on_pixels_and_colors(tmp_path, write_video, moving):
    path = write_video(tmp_path / "a.mp4", moving(1))
    one, other = (next(read_arrays(open_video(path, r, 1, "auto"), [4], path)).astype(int) for r in ("decord", "pyav"))
    assert np.abs(one - other).max() == 0
    assert np.abs(one - moving(1)[4]).mean() < 8.0  # RGB, not BGR


@pytest.mark.parametrize("content", [b"", b"this is a text file\n" * 100, bytes(range(256)) * 50])
@pytest.mark.parametrize("reader", ["auto", "decord", "pyav"])
def test_what_is_no_video(tmp_path, reader, content):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(DecodeError, match=r"^cannot be read \((decord|pyav): ") as caught:
        open_video(path, reader, 1, "auto")
    assert str(tmp_path) not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_fast_start_file_gives_what_is_there(tmp_path, video_bytes, fast_start):
    path = tmp_path / "a.mp4"
    path.write_bytes(fast_start(video_bytes))
    whole = open_video(path, "decord", 1, "auto")
    path.write_bytes(fast_start(video_bytes)[: len(video_bytes) * 2 // 3])
    with pytest.raises(DecodeError, match=r"cannot be read \(decord: "):
        open_video(path, "decord", 1, "auto")
    cut = open_video(path, "auto", 1, "auto")
    told = facts_of(cut)
    assert 10 < told.frame_count < 39
    assert told.stated_seconds == pytest.approx(4.0)
    assert np.array_equal(next(read_arrays(cut, [5], path)), next(read_arrays(whole, [5], path)))


def interlaced_video(path, frames: int, fields: bool) -> np.ndarray:
    """A bright bar that moves 8 pixels between the two fields of each frame; returns its place at the first field."""
    with av.open(str(path), "w") as container:
        flags = {"flags": "+ilme+ildct"} if fields else {}
        stream: Any = container.add_stream("mpeg2video", rate=25, options={"g": "6", "q": "2", **flags})
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 160, 96, "yuv420p", 4_000_000
        for number in range(frames):
            picture = np.full((96, 160, 3), 40, np.uint8)
            for turn, field in enumerate((1, 0)):  # the lower field comes first, as the encoder notes
                left = 16 + 8 * (2 * number + turn)
                picture[field::2, left : left + 24] = 220
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return 16 + 16 * np.arange(frames)


def combing(frame: np.ndarray) -> float:
    """Mean difference of neighboring rows: large where two fields show different times."""
    return float(np.abs(np.diff(frame[16:80, :, 1].astype(int), axis=0)).mean())


def test_interlaced_video_becomes_whole_pictures(tmp_path):
    path = tmp_path / "a.mkv"
    starts = interlaced_video(path, 7, fields=True)
    woven = open_video(path, "auto", 1, "never")
    whole = open_video(path, "auto", 1, "auto")
    assert (facts_of(woven).deinterlaced, facts_of(whole).deinterlaced) == (False, True)
    wanted = [0, 2, 3, 6]
    before, after = (list(read_arrays(video, wanted, path)) for video in (woven, whole))
    assert len(before) == len(after) == 4
    for number, one, other in zip(wanted, before, after, strict=True):
        assert combing(one) > 5 * combing(other)
        bright = np.flatnonzero(other[16:80, :, 1].mean(axis=0) > 130)
        assert abs(bright[0] - starts[number]) <= 4  # of this frame, not of the one before or after
    interlaced_video(tmp_path / "b.mkv", 7, fields=False)
    assert not facts_of(open_video(tmp_path / "b.mkv", "auto", 1, "auto")).deinterlaced


def test_interlaced_video_that_is_gone_when_it_is_opened_again(tmp_path, monkeypatch):
    interlaced_video(tmp_path / "a.mkv", 7, fields=True)
    real = deinterlacing.DeinterlacingReader.__init__

    def late(self, source, threads):
        (tmp_path / "a.mkv").unlink()
        real(self, source, threads)

    monkeypatch.setattr(deinterlacing.DeinterlacingReader, "__init__", late)
    with pytest.raises(DecodeError, match=r"^No such file or directory$"):
        open_video(tmp_path / "a.mkv", "auto", 1, "auto")


def test_a_container_that_promises_more_than_it_holds():
    def tail(frames: int, stated: float, fps: float = 1.0):
        return lost_tail(facts(np.arange(frames) / 10, stated=stated), fps)

    assert tail(40, 4.0) is None
    assert tail(40, 5.0) is None  # audio that runs on
    assert tail(40, 9.0) == (4.0, 8.0, 5)
    assert tail(40, 9.0, fps=0.5) == (4.0, 8.0, 3)
    assert tail(980, 100.0) is None  # 2 %


def test_reader_names_and_missing_libraries(monkeypatch):
    check_reader("decord")
    with pytest.raises(
        UserError, match=r"decoding.reader='decored' is not a reader: it must be one of auto, decord, pyav, torchcodec$"
    ):
        check_reader("decored")
    there = {"decord"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in there else None)
    check_reader("auto")
    check_reader("decord")
    with pytest.raises(UserError, match=r"av is needed to read videos and is not installed: `pip install av`"):
        check_reader("pyav")
    there.clear()
    with pytest.raises(UserError, match=r"av is needed to read videos and is not installed: `pip install av`"):
        check_reader("auto")


def test_readers_come_without_the_package_around_them(tmp_path, video_bytes):
    """In a process of its own: neither transformers nor torch is imported for reading a video."""
    (tmp_path / "a.mp4").write_bytes(video_bytes)
    script = (
        "import sys; from pathlib import Path; from training.corpus.decoding import facts_of, open_video, read_arrays; "
        "path = Path(sys.argv[1]); video = open_video(path, 'auto', 1, 'auto'); facts_of(video); "
        "assert len(list(read_arrays(video, [0, 30], path))) == 2; "
        "print(sorted({'torch', 'transformers', 'modeling_zen'} & sys.modules.keys()))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "a.mp4")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"

"""The watched decoder: crashes and hangs cost one video, and damage costs the frames up to the next key frame."""

import os
import signal
import time
from collections.abc import Iterator

import numpy as np
import pytest

from training.corpus import decoder_process
from training.corpus.decoder_process import DecoderProcess, DecodingSettings, Lost, PatientReader
from training.corpus.decoding import DecodeError
from training.errors import UserError


@pytest.fixture
def decoder(monkeypatch):
    monkeypatch.setattr(decoder_process, "SKIP_FRAMES_PER_SECOND", 1000)
    with DecoderProcess(DecodingSettings(threads=1, stall_seconds=1.5)) as process:
        yield process


@pytest.fixture
def video(tmp_path, video_bytes):
    path = tmp_path / "a.mp4"
    path.write_bytes(video_bytes)
    return path


def child(decoder: DecoderProcess) -> int:
    assert decoder._process is not None
    return decoder._process.pid


def test_reads_several_videos_in_one_child(decoder, video):
    assert decoder.open(video).frame_count == 40
    first = child(decoder)
    frames = list(decoder.read([0, 10, 39]))
    assert [frame.shape for frame in frames] == [(96, 128, 3)] * 3
    assert decoder.open(video).fps == 10.0
    assert child(decoder) == first


def test_what_cannot_be_opened_is_an_error_and_the_child_goes_on(decoder, video, tmp_path):
    (tmp_path / "b.mp4").write_text("no video")
    with pytest.raises(DecodeError, match=r"cannot be read \(pyav: .*; decord: Error reading the file"):
        decoder.open(tmp_path / "b.mp4")
    assert decoder.open(video).frame_count == 40


def test_a_crash_loses_the_rest_of_this_video_only(decoder, video):
    decoder.open(video)
    answers = decoder.read(list(range(40)))
    kept = [next(answers) for _ in range(3)]
    os.kill(child(decoder), signal.SIGKILL)
    rest = list(answers)
    assert all(isinstance(frame, np.ndarray) for frame in kept)
    assert len(rest) == 37  # one answer per frame, whatever happened
    assert rest[-1] == Lost("the decoder crashed (exit code -9)")
    assert decoder.open(video).frame_count == 40


def test_a_hang_ends_after_the_patience_and_is_forgotten(decoder, video):
    decoder.open(video)
    os.kill(child(decoder), signal.SIGSTOP)
    start = time.monotonic()
    answers = list(decoder.read([0, 10, 20]))
    assert time.monotonic() - start < 8
    assert answers == [Lost("the decoder hung: no answer for 1.5 s beyond its due time")] * 3
    assert len([frame for frame in decoder.read([0, 10]) if isinstance(frame, np.ndarray)]) == 2  # opened again


def test_a_hang_in_the_midst_of_a_frame_ends_too(decoder, tmp_path, write_video):
    frames = np.random.default_rng(0).integers(0, 256, (4, 480, 640, 3), dtype=np.uint8)  # more than a pipe holds
    decoder.open(write_video(tmp_path / "large.mp4", frames))
    answers = decoder.read([0, 1])
    next(answers)
    time.sleep(0.5)  # the child writes the next one until the pipe is full
    os.kill(child(decoder), signal.SIGSTOP)
    assert list(answers) == [Lost("the decoder hung: no answer for 1.5 s beyond its due time")]


def test_leaving_early_leaves_no_stale_answers(decoder, video):
    decoder.open(video)
    next(iter(decoder.read([0, 1, 2, 3])))
    decoder.open(video)
    last = list(decoder.read([39]))
    assert len(last) == 1
    assert isinstance(last[0], np.ndarray)


class DamagedVideo:
    """Frames 3 to 5 cannot be decoded; once that has happened nothing can, until the video is opened again."""

    backend = "test"

    def __init__(self) -> None:
        self.broken = False

    def keyframes(self) -> list[int]:
        return [0, 4, 8]

    def arrays(self, indices: list[int]) -> Iterator[np.ndarray]:
        for index in indices:
            self.broken |= index in (3, 4, 5)
            if self.broken:
                raise ValueError("damaged")
            yield np.full((1, 1, 3), index, np.uint8)

    def close(self) -> None:
        pass


def test_reading_goes_on_at_the_next_keyframe(monkeypatch, tmp_path):
    opened = []

    def open_video(*arguments):
        opened.append(arguments)
        return DamagedVideo()

    monkeypatch.setattr(decoder_process, "open_video", open_video)
    reader = PatientReader(tmp_path, "auto", 1, "auto")
    answers = [None if isinstance(a, Lost) else int(a[0, 0, 0]) for a in reader.read(range(12))]
    assert answers == [0, 1, 2, None, None, None, None, None, 8, 9, 10, 11]
    assert len(opened) == 3  # at first, at frame 4 (damaged too), at frame 8
    assert [isinstance(a, Lost) for a in reader.read([0, 3])] == [False, True]
    assert [isinstance(a, Lost) for a in reader.read([0])] == [False]  # a later reading starts afresh
    order = [9, 9, 1, 2, 0]
    assert [int(a[0, 0, 0]) for a in reader.read(order) if not isinstance(a, Lost)] == order


def test_settings_that_do_not_exist():
    with pytest.raises(UserError, match=r"decoding.mode='fast' is not known: it must be one of exact, keyframes$"):
        DecodingSettings(mode="fast")
    with pytest.raises(UserError, match=r"decoding.deinterlace='yes' is not known: it must be one of auto, never$"):
        DecodingSettings(deinterlace="yes")

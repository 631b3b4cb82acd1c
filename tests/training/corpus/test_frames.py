"""Stills and videos as streams of frames, and how frames are stored."""

import cv2
import numpy as np
import pytest
from PIL import Image

from training.corpus.decoder_process import DecoderProcess
from training.corpus.decoding import Sampling
from training.corpus.frames import Missing, UnusableSourceError, encode_image, fit_short_side, open_frames, read_still
from training.corpus.sources import SourceFile, Unit


def still_unit(paths, numbers, *, sequence=True, prefixes=None) -> Unit:
    prefixes = prefixes or [""] * len(paths)
    files = tuple(
        SourceFile("data", path.name, path, path.stat().st_size, 0, number, prefix)
        for path, number, prefix in zip(paths, numbers, prefixes, strict=True)
    )
    return Unit("stills", "v", "v", "", files, sequence)


def video_unit(path) -> Unit:
    return Unit("video", "v", "v", "", (SourceFile("data", path.name, path, path.stat().st_size, 0),))


def test_read_still_is_upright_rgb_without_alpha(tmp_path):
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[:10] = (250, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees clockwise to view"
    Image.fromarray(picture).save(tmp_path / "turned.png", exif=exif)
    turned = read_still(tmp_path / "turned.png")
    assert isinstance(turned, np.ndarray)
    assert turned.shape == (30, 20, 3)
    assert turned[15, 19].tolist() == [250, 0, 0]
    for name, mode in (("gray.png", "L"), ("alpha.png", "RGBA"), ("palette.png", "P")):
        Image.fromarray(picture).convert(mode).save(tmp_path / name)
        frame = read_still(tmp_path / name)
        assert isinstance(frame, np.ndarray)
        assert (frame.shape, frame.dtype) == ((20, 30, 3), np.uint8)


def test_read_still_says_why_not(tmp_path, scene):
    jpeg = encode_image(scene(1), "jpeg", 95)
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "depth.png")
    assert read_still(tmp_path / "empty.jpg") == Missing("empty_file", "0 bytes")
    assert read_still(tmp_path / "text.jpg") == Missing("undecodable", "not an image that Pillow knows")
    cut, depth = read_still(tmp_path / "cut.jpg"), read_still(tmp_path / "depth.png")
    assert isinstance(cut, Missing)
    assert cut.reason == "undecodable"
    assert cut.detail.startswith("pillow: ")
    assert isinstance(depth, Missing)
    assert depth.reason == "not_a_picture"


def test_read_still_without_permission(tmp_path, scene, write_still, monkeypatch):
    path = write_still(tmp_path / "a.jpg", scene(1))

    def refuse(*_args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", refuse)
    assert read_still(path) == Missing("unreadable", "Permission denied")


def test_stored_jpegs_carry_no_metadata(scene):
    data = encode_image(scene(1), "jpeg", 95)
    markers = {bytes(data[i : i + 2]) for i in range(len(data) - 1) if data[i] == 0xFF and 0xE1 <= data[i + 1] <= 0xEF}
    assert markers == set()  # no APP1 (EXIF, XMP) nor any other application segment but JFIF
    assert b"Exif" not in data
    decoded = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    assert np.abs(decoded.astype(int) - scene(1)).mean() < 3


def test_fit_short_side():
    assert fit_short_side(np.zeros((1080, 1920, 3), np.uint8), 256).shape == (256, 455, 3)
    assert fit_short_side(np.zeros((400, 100, 3), np.uint8), 50).shape == (200, 50, 3)
    small = np.zeros((40, 60, 3), np.uint8)
    assert fit_short_side(small, 256) is small


def test_still_times_and_what_follows_what(tmp_path, scene, write_still, settings):
    paths = [write_still(tmp_path / f"{index}.png", scene(index)) for index in range(5)]
    with DecoderProcess(settings().decoding) as decoder:
        unit = still_unit(paths, [10, 20, 60, 111, 112], prefixes=["", "", "", "", "x"])
        stream = open_frames(unit, settings(), decoder)
        assert [sample.timestamp for sample in stream.samples] == [0.4, 0.8, 2.4, 4.44, 4.48]
        assert [sample.frame_index for sample in stream.samples] == [10, 20, 60, 111, 112]
        assert [sample.follows for sample in stream.samples] == [False, True, True, False, False]
        assert len(list(stream.frames())) == 5
        loose = open_frames(still_unit(paths, [1, 2, 3, None, 5], sequence=False), settings(), decoder)
        assert {sample.timestamp for sample in loose.samples} == {0.0}
        assert [sample.frame_index for sample in loose.samples] == [1, 2, 3, 0, 5]
        assert not any(sample.follows for sample in loose.samples)


def test_peeking_at_stills_sees_every_size(tmp_path, scene, write_still, settings):
    paths = [write_still(tmp_path / f"{i}.png", scene(i, 40 if i == 7 else 30, 50)) for i in range(9)]
    (tmp_path / "bad.png").write_text("x")
    unit = still_unit([*paths, tmp_path / "bad.png"], range(10))
    with DecoderProcess(settings().decoding) as decoder:
        frames = open_frames(unit, settings(), decoder).peek(3)
    assert sorted(frame.shape for frame in frames) == [(30, 50, 3)] * 3 + [(40, 50, 3)]


def test_video_samples_carry_native_numbers_and_times(tmp_path, video_bytes, write_video, moving, settings):
    path = tmp_path / "a.mp4"
    path.write_bytes(video_bytes)
    long = write_video(tmp_path / "long.avi", moving(14), codec="MJPG")
    with DecoderProcess(settings().decoding) as decoder:
        stream = open_frames(video_unit(path), settings(fps=2.0), decoder)
        assert [sample.frame_index for sample in stream.samples] == [0, 5, 10, 15, 20, 25, 30, 35]
        assert [sample.timestamp for sample in stream.samples] == pytest.approx(np.arange(8) / 2)
        assert (stream.fps, stream.lost) == (2.0, None)
        assert len(stream.peek(24)) == 8
        assert all(isinstance(frame, np.ndarray) for frame in stream.frames())
        assert open_frames(video_unit(path), settings(fps=30.0), decoder).fps == 10.0
        many = open_frames(video_unit(long), settings(), decoder)
        assert len(many.peek(10)) == 10  # spread over the key frames
        assert len(list(many.frames())) == 14


def test_unusable_videos(tmp_path, settings):
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("text")
    with DecoderProcess(settings().decoding) as decoder:
        with pytest.raises(UnusableSourceError, match="0 bytes") as empty:
            open_frames(video_unit(tmp_path / "empty.mp4"), settings(), decoder)
        with pytest.raises(UnusableSourceError, match=r"pyav: .*; decord: Error reading the file") as text:
            open_frames(video_unit(tmp_path / "text.mp4"), settings(), decoder)
    assert (empty.value.reason, text.value.reason) == ("empty_file", "undecodable")


def test_a_video_without_frames(tmp_path, settings, monkeypatch, video_bytes):
    (tmp_path / "a.mp4").write_bytes(video_bytes)
    nothing = Sampling(np.zeros(0, np.int64), 0.0, 0.0)
    monkeypatch.setattr("training.corpus.frames.choose_frames", lambda *_: nothing)
    with DecoderProcess(settings().decoding) as decoder, pytest.raises(UnusableSourceError, match="no frame") as none:
        open_frames(video_unit(tmp_path / "a.mp4"), settings(), decoder)
    assert none.value.reason == "no_frames"


def test_a_truncated_video_reports_its_lost_end(tmp_path, settings, write_video, moving):
    data = write_video(tmp_path / "whole.mkv", moving(8)).read_bytes()
    path = tmp_path / "cut.mkv"
    path.write_bytes(data[: len(data) // 2])
    assert path.stat().st_size > 1000
    with DecoderProcess(settings().decoding) as decoder:
        stream = open_frames(video_unit(path), settings(), decoder)
        assert stream.lost is not None
        assert len(stream.samples) + stream.lost.num_frames == 8
        assert stream.lost.t_end == 7.0
        assert all(isinstance(frame, np.ndarray) for frame in stream.frames())

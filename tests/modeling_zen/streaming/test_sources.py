"""Network streams over the loopback interface (UDP and RTSP), cameras, and sources that are none."""

import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from modeling_zen import ZenForVideoFrameClassification, ZenImageProcessor, ZenModel
from modeling_zen.streaming import Reconnect, ZenStream
from modeling_zen.streaming import sources as sources_module
from modeling_zen.streaming.sources import LiveSource, SourceLostError
from modeling_zen.video_decoding_zen import open_video

from .streaming_frames import FRAMES, HEIGHT, WIDTH, striped_frames

PATIENT = Reconnect(attempts=200, first_delay=0.01, max_delay=0.05, timeout=3.0)


# Sends to an RTSP server as soon as there is one. In a process of its own: PyAV holds Python's lock while FFmpeg talks
# to the server, which would wait for it in this one.
RTSP_SENDER = """
import sys, time, av, numpy
until = time.monotonic() + 30
number = 0
while time.monotonic() < until:
    try:
        with av.open(sys.argv[1], "w", format="rtsp", options={"rtsp_transport": "tcp"}, timeout=10.0) as container:
            stream = container.add_stream("mpeg2video", rate=25)
            stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", 5
            stream.codec_context.max_b_frames = 0
            while time.monotonic() < until:
                pixels = numpy.full((48, 64, 3), 3 * number % 256, numpy.uint8)
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = number, 1 / stream.average_rate
                container.mux(stream.encode(frame))
                number += 1
                time.sleep(0.02)
    except av.FFmpegError:
        time.sleep(0.05)
"""


class Sender:
    """Sends an MPEG-TS stream to a UDP port of this machine until it is stopped."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send)

    def __enter__(self) -> "Sender":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _send(self) -> None:
        with av.open(self._url + "?pkt_size=1316", "w", format="mpegts") as container:
            stream: Any = container.add_stream("mpeg2video", rate=25)
            stream.width, stream.height, stream.pix_fmt, stream.gop_size = WIDTH, HEIGHT, "yuv420p", 5
            stream.codec_context.max_b_frames = 0
            frames = [av.VideoFrame.from_ndarray(frame, format="rgb24") for frame in striped_frames(10)]
            number = 0
            while not self._stop.wait(0.02):
                frame = frames[number % len(frames)]
                frame.pts, frame.time_base = number, 1 / stream.average_rate
                container.mux(stream.encode(frame))
                number += 1


@pytest.fixture
def url() -> str:
    """Of a UDP port that nobody uses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return f"udp://127.0.0.1:{probe.getsockname()[1]}"


def test_a_udp_stream_is_read_lost_and_restored(
    url: str, model: ZenModel, processor: ZenImageProcessor, phase_head: ZenForVideoFrameClassification
) -> None:
    with Sender(url):
        stream = ZenStream(url, model, processor=processor, phase_head=phase_head, reconnect=PATIENT)
        stream.start()
        results = [next(stream) for _ in range(5)]
    lost = stream.report()
    assert (lost.policy, lost.backend, lost.source) == ("drop_oldest", "pyav", url)
    until = time.monotonic() + 100
    while not stream.report().losses and time.monotonic() < until:
        time.sleep(0.01)
    with Sender(url):
        while not results[-1].segment:
            results.append(next(stream))
        results += [next(stream) for _ in range(3)]
        stream.close()
    report = stream.report()
    assert (report.losses, report.reconnects) == (1, 1)
    assert report.seconds_lost > 0
    first_back = next(result for result in results if result.segment)
    assert first_back.state == "kept"
    times = [result.timestamp for result in results]
    assert times == sorted(times)
    assert [result.frame for result in results] == sorted({result.frame for result in results})
    assert report.frames_processed == len(results)
    assert report.frames_sampled == report.frames_processed + report.frames_dropped + report.frames_waiting


def test_an_rtsp_stream_is_read_lost_and_restored(url: str, model: ZenModel, processor: ZenImageProcessor) -> None:
    url = url.replace("udp://", "rtsp://") + "/theatre"

    def sender() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", RTSP_SENDER, url], stderr=subprocess.DEVNULL)

    # FFmpeg has no RTSP server that sends, but one that is sent to.
    options = {"rtsp_flags": "listen", "listen_timeout": "20"}
    reconnect = Reconnect(attempts=50, first_delay=0.01, max_delay=0.05, timeout=20.0)
    stream = ZenStream(url, model, processor=processor, reconnect=reconnect, options=options)
    sending = sender()
    try:
        results = [next(stream) for _ in range(5)]
        sending.kill()
        sending.wait()
        sending = sender()
        while not results[-1].segment:
            results.append(next(stream))
        results.append(next(stream))
        stream.close()
    finally:
        sending.kill()
        sending.wait()
    report = stream.report()
    assert (report.source, report.backend, report.policy) == (url, "pyav", "drop_oldest")
    assert (report.losses, report.reconnects, results[-1].segment) == (1, 1, 1)
    times = [result.timestamp for result in results]
    assert times == sorted(times)
    assert report.frames_processed == len(results)
    assert report.frames_sampled == report.frames_processed + report.frames_dropped + report.frames_waiting


def test_a_stream_that_is_not_there(url: str, model: ZenModel, processor: ZenImageProcessor) -> None:
    quick = Reconnect(timeout=0.3)
    with (
        pytest.raises(ConnectionError, match=re.escape(f"{url} cannot be opened: no frame arrived in time")),
        ZenStream(url, model, processor=processor, reconnect=quick) as stream,
    ):
        next(stream)


@pytest.mark.parametrize("password", ["secret", "s@secret", "s:e@c@secret"])
def test_passwords_are_not_shown(password: str, url: str, model: ZenModel, processor: ZenImageProcessor) -> None:
    secret = url.replace("udp://", f"rtsp://user:{password}@")
    stream = ZenStream(secret, model, processor=processor)
    with pytest.raises(ConnectionError, match=r"^rtsp://127\.0\.0\.1:\d+ cannot be opened: Connection refused$"):
        next(stream)
    assert "secret" not in stream.report().source
    with pytest.raises(ValueError, match=r"^realtime paces a file; rtsp://127\.0\.0\.1:\d+ is live already$"):
        ZenStream(secret, model, processor=processor, realtime=True)


def test_a_frame_that_is_held_is_no_loss_of_the_source_and_no_decoding(video: Path) -> None:
    source = LiveSource(str(video), name="recording", format=None, options={}, timeout=0.3)
    held = []
    for grab in source.frames(threading.Event()):
        held.append(grab)
        if len(held) in (1, FRAMES - 2, FRAMES - 1):  # the last packets give several frames each
            time.sleep(0.35)
    assert len(held) == FRAMES
    assert all(0 < (grab.decode_seconds or 0) < 0.35 for grab in held)


def test_a_stream_can_be_closed_while_it_is_sent(url: str, model: ZenModel, processor: ZenImageProcessor) -> None:
    with Sender(url), ZenStream(url, model, processor=processor, reconnect=PATIENT) as stream:
        next(stream)


def test_images_of_pil_are_frames(model: ZenModel, processor: ZenImageProcessor) -> None:
    images = [Image.fromarray(frame) for frame in striped_frames(3)]
    with ZenStream(images, model, processor=processor) as stream:
        found = [result.embedding.tolist() for result in stream]
    with ZenStream(striped_frames(3), model, processor=processor) as stream:
        assert found == [result.embedding.tolist() for result in stream]


@pytest.mark.parametrize(
    ("frame", "found"),
    [
        (striped_frames(1)[0][..., 0], r"torch.uint8 of \(48, 64\)"),
        (striped_frames(1)[0].astype("float32"), r"torch.float32 of \(48, 64, 3\)"),
        (striped_frames(1)[0][:0], r"torch.uint8 of \(0, 64, 3\)"),
        ("frame.png", "str"),
        (None, "NoneType"),
    ],
)
def test_a_frame_that_is_none(frame: Any, found: str, model: ZenModel, processor: ZenImageProcessor) -> None:
    stream = ZenStream(lambda: [striped_frames(1)[0], frame], model, processor=processor)
    next(stream)
    with pytest.raises(
        ValueError, match=rf"^frame 1 of the iterator must be uint8 \(height, width, 3\) in RGB, not {found}$"
    ):
        next(stream)


def test_sources_that_do_not_exist(model: ZenModel, processor: ZenImageProcessor, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"video '.*nothing\.mp4' does not exist"):
        ZenStream(tmp_path / "nothing.mp4", model, processor=processor)
    (tmp_path / "text.mp4").write_text("no video at all")
    with pytest.raises(ValueError, match=r"video '.*text\.mp4' cannot be read"):
        ZenStream(tmp_path / "text.mp4", model, processor=processor)
    with pytest.raises(ValueError, match="source must be a video file, a URL, the number of a camera"):
        ZenStream(3.5, model, processor=processor)  # type: ignore[arg-type]


@pytest.mark.parametrize("settings", [{}, {"fps": 50.0}, {"queue_size": 1}])
def test_a_file_is_closed_even_if_it_is_never_read(
    settings: dict[str, Any], video: Path, model: ZenModel, processor: ZenImageProcessor, monkeypatch: Any
) -> None:
    def opened(path: str, **settings: Any) -> Any:
        reader = open_video(path, **settings)
        original = reader.close
        monkeypatch.setattr(reader, "close", lambda: (closed.append(path), original()))
        return reader

    closed: list[str] = []
    monkeypatch.setattr(sources_module, "open_video", opened)
    if "fps" in settings:
        with pytest.raises(ValueError, match="above the 20 frames per second"):
            ZenStream(video, model, processor=processor, **settings)
    else:
        stream = ZenStream(video, model, processor=processor, **settings)
        if settings:
            next(stream)
        stream.close()
    assert set(closed) == {str(video)}


@pytest.mark.skipif(sys.platform != "linux", reason="cameras are read on Linux only")
def test_a_camera_is_read_by_its_format_and_options() -> None:
    # FFmpeg's test picture stands for the camera: another input device of libavdevice.
    if "lavfi" not in av.formats_available:
        pytest.skip("this FFmpeg has no test picture")
    camera = LiveSource("testsrc=size=64x48:rate=25:duration=1", name="camera", format="lavfi", options={}, timeout=3.0)
    frames = camera.frames(threading.Event())
    grabs = [next(frames) for _ in range(25)]
    with pytest.raises(SourceLostError, match=r"^camera was lost: it ended$"):
        next(frames)
    assert [grab.seconds for grab in grabs] == pytest.approx([n / 25 for n in range(25)])
    assert {tuple(grab.pixels.shape) for grab in grabs} == {(48, 64, 3)}


@pytest.mark.skipif(sys.platform != "linux", reason="cameras are read on Linux only")
def test_a_device_that_is_no_camera(
    tmp_path: Path, model: ZenModel, processor: ZenImageProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "exists", lambda self: True)
    stream = ZenStream(987, model, processor=processor, options={"video_size": "64x48"})
    with pytest.raises(ConnectionError, match=r"^camera /dev/video987 cannot be opened: No such file or directory$"):
        next(stream)
    (tmp_path / "text").write_text("no camera at all")
    source = LiveSource(str(tmp_path / "text"), name="camera x", format="v4l2", options={}, timeout=1.0)
    with pytest.raises(SourceLostError, match=r"^camera x cannot be opened: Inappropriate ioctl for device$"):
        next(iter(source.frames(threading.Event())))


@pytest.mark.skipif(sys.platform != "linux", reason="cameras are read on Linux only")
@pytest.mark.parametrize("camera", [987, "/dev/video987"])
def test_a_camera_that_is_absent(camera: int | str, model: ZenModel, processor: ZenImageProcessor) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no camera /dev/video987; this machine has "):
        ZenStream(camera, model, processor=processor)


def test_cameras_elsewhere(model: ZenModel, processor: ZenImageProcessor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ValueError, match="cameras are read through Video4Linux"):
        ZenStream(0, model, processor=processor)


@pytest.mark.parametrize(
    ("source", "message"),
    [("rtsp://host/stream", "host/stream is live already"), ([], "an iterator of frames can pace itself")],
)
def test_only_files_are_paced(source: Any, message: str, model: ZenModel, processor: ZenImageProcessor) -> None:
    with pytest.raises(ValueError, match=f"realtime paces a file; .*{message}"):
        ZenStream(source, model, processor=processor, realtime=True)


def test_pyav_is_asked_for_by_name(
    model: ZenModel, processor: ZenImageProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modeling_zen.streaming.sources.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="needs PyAV, which is not installed: pip install av"):
        ZenStream("udp://127.0.0.1:5000", model, processor=processor)

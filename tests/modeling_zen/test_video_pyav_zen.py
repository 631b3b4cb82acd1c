"""The reader on PyAV: what it leaves undecoded changes no frame, whatever the codec, the order of frames or threads."""

import contextlib
import http.server
import itertools
import random
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from modeling_zen.video_decoding_zen import open_video, preferred_backends
from modeling_zen.video_index_zen import Need, PacketPlan
from modeling_zen.video_pyav_zen import PyAVReader

FRAMES = 90
X264 = "keyint=30:min-keyint=30:scenecut=0:bframes=5"
STREAMS: dict[str, tuple[str, str, dict[str, str]]] = {
    "b_pyramid": ("a.mp4", "libx264", {"x264-params": f"{X264}:b-pyramid=normal:b-adapt=0:ref=4"}),
    "open_gop": ("b.mkv", "libx264", {"x264-params": f"{X264}:open-gop=1:b-adapt=0"}),
    "transport": ("c.ts", "libx264", {"x264-params": X264}),
    "interlaced": ("d.mp4", "libx264", {"x264-params": f"{X264}:tff=1"}),
    "intra_refresh": ("e.mp4", "libx264", {"x264-params": "keyint=30:intra-refresh=1:bframes=0"}),
    "variable_rate": ("f.mkv", "libx264", {"x264-params": X264}),
    "hevc": ("g.mp4", "libx265", {"x265-params": "keyint=30:bframes=4:log-level=none"}),
    "mpeg2": ("h.mpg", "mpeg2video", {"g": "12", "bf": "2"}),
    "mpeg4": ("i.avi", "mpeg4", {"g": "30", "bf": "2"}),
    "vp9": ("j.webm", "libvpx-vp9", {"g": "30", "deadline": "realtime", "cpu-used": "8", "auto-alt-ref": "1"}),
    "av1": ("k.mp4", "libsvtav1", {"g": "30", "preset": "12"}),
    "intra": ("l.avi", "mjpeg", {}),
}


def write(path: Path, name: str, codec: str, options: dict[str, str]) -> None:
    blocks = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height = 128, 96
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for index in range(FRAMES):
            noise = np.random.default_rng(index).integers(0, 12, blocks.shape, dtype=np.uint8)
            picture = np.roll(blocks // 2 + noise, 2 * index, axis=1)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=stream.pix_fmt)
            frame.pts = index + (index // 7) * 3 if name == "variable_rate" else index
            frame.time_base = Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module", params=STREAMS)
def stream(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, np.ndarray]:
    """Name, file, and all its frames by PyAV's own simplest loop, which decodes every packet."""
    file, codec, options = STREAMS[request.param]
    path = tmp_path_factory.mktemp("streams") / file
    try:
        write(path, request.param, codec, options)
    except ValueError as error:  # FFmpeg without this encoder
        pytest.skip(str(error))
    with av.open(str(path)) as container:
        truth = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert len({frame.tobytes() for frame in truth}) == len(truth) == FRAMES
    return request.param, path, truth


@pytest.mark.parametrize("threads", [1, 4])
def test_wanted_frames_are_the_same_as_when_all_are_decoded(stream: tuple[str, Path, np.ndarray], threads: int) -> None:
    name, path, truth = stream
    choose = random.Random(0)
    samples = [range(0, FRAMES, 25), range(3, FRAMES, 5), [FRAMES - 1], [28, 29, 30, 31, 62], range(FRAMES)]
    samples += [sorted(choose.sample(range(FRAMES), count)) for count in (2, 5, 11, 40)]
    with open_video(path, "pyav", threads=threads) as reader:
        assert reader.num_frames == FRAMES
        keys = reader.keyframes()
        assert keys or name in ("mpeg2", "mpeg4", "intra_refresh")
        for wanted in [keys, *samples]:
            frames = list(reader.arrays(wanted))
            assert len(frames) == len(wanted)
            for number, frame in zip(wanted, frames, strict=True):
                assert np.array_equal(frame, truth[number]), number
        for number in choose.sample(range(FRAMES), 6):
            assert np.array_equal(reader.read([number])[0].numpy(), truth[number]), number


def test_two_iterations_over_one_reader(stream: tuple[str, Path, np.ndarray]) -> None:
    _, path, truth = stream
    with open_video(path, "pyav", threads=2) as reader:
        for one, other in zip(
            reader.frames(range(0, 80, 9), chunk=1), reader.frames(range(7, 87, 9), chunk=1), strict=True
        ):
            for chunk in (one, other):
                assert np.array_equal(chunk.pixels[0].numpy(), truth[chunk.numbers[0]]), chunk.numbers


def test_most_packets_are_left_out(tmp_path: Path) -> None:
    """Groups of 30 frames: 0 needs one packet, 40 those from 30 on, nothing else is needed before 60, the last one."""
    file, codec, options = STREAMS["b_pyramid"]
    write(tmp_path / file, "", codec, options)
    with open_video(tmp_path / file, "pyav", threads=1) as reader:
        assert isinstance(reader, PyAVReader)
        assert reader.keyframes() == [0, 30, 60]
        index = reader._packets()
    plan = PacketPlan(index, iter([0, 40, 60]))
    needs = {number: plan.need(number) for number in sorted(range(FRAMES), key=index.place_of)}
    assert [number for number in range(60) if needs[number] is Need.PICTURE] == [0, 40]
    assert all(needs[number] is Need.NOTHING for number in [*range(1, 30), *range(48, 60)])
    assert needs[30] is needs[36] is Need.REFERENCE
    assert all(needs[number] is Need.PICTURE for number in range(60, FRAMES))  # a reader can go on from there


def test_streams_without_times_are_counted_through(tmp_path: Path) -> None:
    write(tmp_path / "a.h264", "", "libx264", {"x264-params": X264})
    with av.open(str(tmp_path / "a.h264")) as container:
        truth = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with open_video(tmp_path / "a.h264", "pyav") as reader:
        assert reader.keyframes() == []
        assert reader.timestamps() == pytest.approx(np.arange(FRAMES) / reader.fps)
        for number, frame in zip((5, 70, 89), reader.arrays([5, 70, 89]), strict=True):
            assert np.array_equal(frame, truth[number])


def test_a_live_source_is_not_read_through_to_learn_its_times(tmp_path: Path) -> None:
    """A stream without a length, as a camera sends it, would never end; it is opened once."""
    write(tmp_path / "a.h264", "", "libx264", {"x264-params": X264})
    content = (tmp_path / "a.h264").read_bytes()
    asked: list[str] = []

    class Camera(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Camera) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with open_video(f"http://127.0.0.1:{server.server_port}/a.h264") as reader:
            assert reader.num_frames is None
            assert reader.duration is None
            assert reader.keyframes() == []
            assert len(reader.timestamps()) == 0
            assert [chunk.numbers for chunk in itertools.islice(reader.frames(step=4, chunk=3), 2)] == [
                [0, 4, 8],
                [12, 16, 20],
            ]
        server.shutdown()
    assert asked == ["/a.h264"]


@pytest.mark.parametrize(("pix_fmt", "height", "width"), [("yuv420p10le", 96, 128), ("yuv420p", 95, 127)])
def test_ten_bits_and_odd_sizes(tmp_path: Path, pix_fmt: str, height: int, width: int) -> None:
    """Lossless pictures come back as what FFmpeg's own conversion of them gives, near the colors that went in."""
    ramp = np.linspace(20, 230, width).astype(np.uint8)
    planes = [np.tile(ramp, (height, 1)), np.full((height, width), 90), np.tile(ramp[::-1], (height, 1))]
    picture = np.stack(planes, axis=-1).astype(np.uint8)
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    with open_video(tmp_path / "a.mkv", "pyav") as reader:
        frame = next(reader.arrays([0]))
    assert (frame.shape, frame.dtype) == ((height, width, 3), np.uint8)
    assert np.abs(frame.astype(int) - picture).max() <= 6  # chroma of half the resolution


def test_which_backend_is_preferred() -> None:
    assert preferred_backends(is_sparse=True)[0] == "pyav"
    assert preferred_backends(is_sparse=False)[0] == "decord"

"""Video readers: the same frames and times from every backend, bounded memory, sampling, damaged files."""

import http.server
import importlib
import importlib.util
import re
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

import modeling_zen.video_decoding_zen as module
from modeling_zen.video_container_zen import is_cut_short
from modeling_zen.video_decoding_zen import nearest_frames, open_video, sample_indices
from training.corpus.decoding import VideoFacts, choose_frames

FRAMES, FPS = 70, 10


def usable(backend: str) -> bool:
    """Installed, and for torchcodec: FFmpeg's libraries are there too."""
    if backend not in module.installed_backends():
        return False
    if backend == "torchcodec":
        try:
            importlib.import_module("torchcodec.decoders")
        except (ImportError, OSError, RuntimeError):
            return False
    return True


USABLE = [
    pytest.param(name, marks=pytest.mark.skipif(not usable(name), reason=f"{name} is not usable here"))
    for name in module.BACKENDS
]
OTHERS = [name for name in USABLE if name.values[0] != "pyav"]


def run_alone(script: str, *arguments: str) -> str:
    """What a script prints that has `open_video`, without the seconds that importing the whole package takes."""
    package = str(Path(module.__file__).parent)
    begin = f"""
import sys, types
sys.modules["modeling_zen"] = types.ModuleType("modeling_zen")
sys.modules["modeling_zen"].__path__ = [{package!r}]
from modeling_zen.video_decoding_zen import open_video
"""
    command = [sys.executable, "-c", begin + script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout


def picture(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Blocks of noise that move three pixels a frame."""
    blocks = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return np.roll(blocks.repeat(8, 0).repeat(8, 1), 3 * index, axis=1)


def write_video(path: Path, count: int = FRAMES, codec: str = "libx264", **settings: Any) -> Path:
    """A group of pictures every 20 frames, with B-frames, 10 frames per second."""
    height, width, rate = settings.pop("height", 48), settings.pop("width", 64), settings.pop("rate", FPS)
    title, open_gop = settings.pop("title", ""), settings.pop("open_gop", False)
    with av.open(str(path), "w", **settings) as container:
        container.metadata["title"] = title
        options = {"g": "20", **({"x264-params": "open-gop=1:bframes=3"} if open_gop else {})}
        stream: Any = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index, height, width), format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="module")
def video(folder: Path) -> Path:
    return write_video(folder / "clip.mp4")


@pytest.fixture(scope="module")
def truth(video: Path) -> torch.Tensor:
    """All frames, by PyAV's own simplest loop."""
    with av.open(str(video)) as container:
        return torch.stack([torch.from_numpy(f.to_ndarray(format="rgb24")) for f in container.decode(video=0)])


@pytest.mark.parametrize("backend", USABLE)
def test_frames_by_number_and_in_turn(backend: str, video: Path, truth: torch.Tensor) -> None:
    with open_video(video, backend) as reader:
        assert (reader.backend, reader.note) == (backend, "")
        assert (reader.fps, reader.num_frames, reader.height, reader.width) == (FPS, FRAMES, 48, 64)
        assert reader.duration == pytest.approx(FRAMES / FPS)
        assert torch.equal(reader.read(range(FRAMES)), truth)
        wanted = [69, 3, 3, 41, 0, 20, 19]
        assert torch.equal(reader.read(wanted), truth[wanted])
        assert reader.read([]).shape == (0, 48, 64, 3)
        chunks = list(reader.frames(chunk=16))
        assert [len(chunk.numbers) for chunk in chunks] == [16, 16, 16, 16, 6]
        assert all(chunk.pixels.dtype == torch.uint8 for chunk in chunks)
        assert torch.equal(torch.cat([chunk.pixels for chunk in chunks]), truth)
        times = [time for chunk in chunks for time in chunk.timestamps]
        assert times == pytest.approx(np.arange(FRAMES) / FPS, abs=1e-6)
        sparse = list(reader.frames([1, 2, 60], chunk=2))
        assert [chunk.numbers for chunk in sparse] == [[1, 2], [60]]
        assert torch.equal(torch.cat([chunk.pixels for chunk in sparse]), truth[[1, 2, 60]])
        assert torch.equal(torch.cat([chunk.pixels for chunk in reader.frames(step=35)]), truth[::35])
        assert sum(len(chunk.numbers) for chunk in reader) == FRAMES


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize(
    ("name", "codec"), [("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("a.webm", "libvpx"), ("a.mov", "libx264")]
)
def test_containers_agree_across_backends(folder: Path, name: str, codec: str, backend: str) -> None:
    path = write_video(folder / name, count=45, codec=codec)
    with open_video(path, "pyav") as first, open_video(path, backend) as second:
        assert (first.fps, first.num_frames) == (second.fps, second.num_frames) == (FPS, 45)
        assert first.timestamps() == pytest.approx(second.timestamps(), abs=5e-4)
        assert first.keyframes() == second.keyframes()
        assert first.keyframes()[0] == 0
        assert all(
            np.array_equal(*pair) for pair in zip(first.arrays([0, 7, 40]), second.arrays([0, 7, 40]), strict=True)
        )
        assert torch.equal(first.read(range(45)), second.read(range(45)))
        assert torch.equal(first.read([40, 7]), second.read([40, 7]))
        for one, other in zip(first, second, strict=True):
            assert one.numbers == other.numbers
            assert one.timestamps == pytest.approx(other.timestamps, abs=5e-4)


def remux(source: Path, target: Path, first: int = 0, hole: range = range(0), earlier: int = 0) -> Path:
    """The packets of a video in another file, from packet `first` on, without those in `hole`, frames `earlier`."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        for index, packet in enumerate(old.demux(stream)):
            if packet.dts is not None and packet.pts is not None and index >= first and index not in hole:
                shift = round(earlier / FPS / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = copy
                new.mux(packet)
    return target


@pytest.mark.parametrize("backend", OTHERS)
def test_variable_frame_rate(folder: Path, backend: str) -> None:
    """The rate is the one that the container states, whoever decodes; times are those of the frames."""
    with av.open(str(folder / "variable.mp4"), "w") as container:
        stream: Any = container.add_stream("libx264", rate=FPS, options={"g": "20"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in [*range(20), *range(20, 70, 3)]:
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with open_video(folder / "variable.mp4", "pyav") as first, open_video(folder / "variable.mp4", backend) as second:
        assert first.fps == second.fps
        assert first.num_frames == second.num_frames == 37
        for one, other in zip(first, second, strict=True):
            assert torch.equal(one.pixels, other.pixels)
            assert one.timestamps == pytest.approx(other.timestamps, abs=1e-6)


@pytest.mark.parametrize("backend", USABLE)
def test_times_are_those_of_the_container(folder: Path, backend: str) -> None:
    """Five frames are missing in the middle: numbers go on, times jump."""
    path = remux(write_video(folder / "simple.avi", codec="mpeg4"), folder / "hole.mp4", hole=range(45, 50))
    times = next(open_video(path, backend).frames(range(40, 50))).timestamps
    assert times == pytest.approx([4.0, 4.1, 4.2, 4.3, 4.4, 5.0, 5.1, 5.2, 5.3, 5.4], abs=1e-5)


def write_rotated(video: Path, target: Path) -> Path:
    """The same MP4, to be shown turned clockwise."""
    content = video.read_bytes()
    matrix = content.find(b"tkhd") + 44
    quarter = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
    target.write_bytes(content[:matrix] + quarter + content[matrix + 36 :])
    return target


def test_what_decord_takes_for_other_frames_goes_to_pyav(folder: Path, video: Path, truth: torch.Tensor) -> None:
    """Transport streams, rotated videos, beginnings between key frames or in an edit list, streams without times."""
    rotated = write_rotated(video, folder / "rotated.mp4")
    cases = {
        write_video(folder / "a.ts"): (truth, "only in MP4, MOV, MKV, WebM and AVI"),
        rotated: (truth.rot90(-1, (1, 2)), "decord cannot read rotated videos"),
        remux(video, folder / "late.mp4", first=7): (truth[20:], "begin between key frames"),
        remux(video, folder / "cut_in_front.mp4", earlier=12): (truth[12:], "cut off by an edit list"),
        write_video(folder / "raw.h264"): (truth, "broken metadata"),
    }
    for path, (frames, why) in cases.items():
        with open_video(path) as reader:
            assert reader.backend == "pyav"
            assert re.fullmatch(rf"decord: .*{why}.*", reader.note)
            assert reader.num_frames == len(frames)
            assert (reader.height, reader.width) == frames.shape[1:3]
            assert torch.equal(torch.cat([chunk.pixels for chunk in reader]), frames)
            assert torch.equal(reader.read([49, 2, 33]), frames[[49, 2, 33]])
        with pytest.raises(ValueError, match=rf"cannot be read \(decord: .*{why}"):
            open_video(path, "decord")


@pytest.mark.skipif(not usable("torchcodec"), reason="torchcodec is not usable here")
def test_what_torchcodec_reads_and_what_it_takes_for_other_frames(
    folder: Path, video: Path, truth: torch.Tensor
) -> None:
    cases = {
        write_rotated(video, folder / "turned.mp4"): truth.rot90(-1, (1, 2)),
        remux(video, folder / "edited.mp4", earlier=12): truth[12:],
    }
    for path, frames in cases.items():
        with open_video(path, "torchcodec") as reader:
            assert (reader.num_frames, reader.height, reader.width) == frames.shape[:3]
            assert torch.equal(torch.cat([chunk.pixels for chunk in reader]), frames)
            assert torch.equal(reader.read([49, 2, 33]), frames[[49, 2, 33]])
    refused = {
        write_video(folder / "b.ts"): "finds the right frames only in MP4, MOV, MKV, WebM and AVI files",
        write_video(folder / "b.mpg", codec="mpeg1video", rate=25): "finds the right frames only in MP4",
        remux(video, folder / "late.mkv", first=7): "cannot read recordings that begin between key frames",
        remux(video, folder / "later.mp4", first=7): "Could not seek file to pts=[0-9]+: ",
    }
    for path, why in refused.items():
        with pytest.raises(ValueError, match=rf"cannot be read \(torchcodec: (torchcodec )?{why}"):
            open_video(path, "torchcodec")


def test_torchcodec_without_ffmpeg(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(name: str) -> Any:
        raise RuntimeError(f"Could not load lib{name}. Likely causes: ...")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(importlib, "import_module", lacking)
    with pytest.raises(
        ValueError, match=r"\(torchcodec: torchcodec cannot load FFmpeg's libraries, .*: install FFmpeg"
    ):
        open_video(video, "torchcodec")
    with pytest.raises(ValueError, match=r"\(torchcodec: torchcodec reads files only, no URLs\)$"):
        open_video("http://localhost/a.mp4", "torchcodec")


def test_jumps_do_not_lower_what_the_file_promises(folder: Path) -> None:
    """Frames before a key frame that need the ones before it are left out behind a jump; they are no less promised."""
    path = write_video(folder / "open.mp4", open_gop=True)
    with av.open(str(path)) as container:
        frames = torch.stack([torch.from_numpy(f.to_ndarray(format="rgb24")) for f in container.decode(video=0)])
    with open_video(path, "pyav") as reader:
        for number in (65, 2, 45, 3, 38, 62, 22, 69):
            assert torch.equal(reader.read([number])[0], frames[number])
        assert reader._promised == FRAMES  # type: ignore[attr-defined]


def test_titles_that_are_no_unicode(folder: Path) -> None:
    path = write_video(folder / "title.avi", count=5, codec="mpeg4", title="Mueller")
    content = path.read_bytes()
    assert b"Mueller" in content
    path.write_bytes(content.replace(b"Mueller", b"M\xfc ller"))
    with open_video(path, "pyav") as reader:
        assert reader.num_frames == 5


def test_memory_does_not_grow_with_the_video(folder: Path) -> None:
    """330 MB of pixels pass through, and less than 100 MB stay."""
    path = write_video(folder / "long.mp4", count=360, height=480, width=640)
    script = """
import resource, torch
torch.set_num_threads(1)
reader = open_video(sys.argv[1], sys.argv[2], threads=1)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
chunks = reader.frames(chunk=16)
next(chunks), next(chunks)
before, count = peak(), 32
for chunk in chunks:
    count += len(chunk.numbers)
print(count, peak() - before)
"""
    for backend in ("decord", "pyav"):
        count, grown = run_alone(script, str(path), backend).split()
        assert int(count) == 360
        assert float(grown) < 100


@pytest.fixture
def url(video: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(video.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/clip.mp4"
    server.shutdown()
    server.server_close()


def test_urls(url: str, truth: torch.Tensor) -> None:
    with open_video(url) as reader:
        assert reader.backend == "pyav"
        assert reader.note == "decord: decord reads files only, no URLs"
        assert reader.num_frames == FRAMES
        assert torch.equal(reader.read([50, 3]), truth[[50, 3]])
    with pytest.raises(ValueError, match=r"video 'http.*clip.mp4' cannot be read \(decord: decord reads files only"):
        open_video(url, "decord")
    with pytest.raises(ValueError, match=r"pyav: Server returned 404 Not Found"):
        open_video(url.replace("clip", "none"))


def test_sources_that_are_no_video(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^video 'nowhere.mp4' does not exist$"):
        open_video("nowhere.mp4")
    with pytest.raises(FileNotFoundError, match=r"is a folder, not a video file$"):
        open_video(tmp_path)
    for content in (b"", b"no video at all"):
        (tmp_path / "text.mp4").write_bytes(content)
        with pytest.raises(
            ValueError, match=r"video '.*text.mp4' cannot be read \(decord: Error reading the file; pyav: "
        ):
            open_video(tmp_path / "text.mp4")
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream: Any = container.add_stream("aac", rate=16000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    for backend in ("decord", "pyav"):
        with pytest.raises(ValueError, match=rf"cannot be read \({backend}: the file has no video stream\)$"):
            open_video(tmp_path / "sound.mp4", backend)
    (tmp_path / "header.y4m").write_bytes(b"YUV4MPEG2 W64 H48 F10:1 Ip A1:1 C420jpeg\n")
    with pytest.raises(ValueError, match=r"cannot be read \(decord: .*; pyav: the video has no frames[;)]"):
        open_video(tmp_path / "header.y4m")


@pytest.mark.parametrize("name", ['Ann\'s, "op".mp4', 'Ann\'s "op".mkv', "Ann, op.mp4", "Ann\nop.mp4", "Ann\\op.avi"])
def test_reasons_do_not_repeat_the_name_of_the_file(tmp_path: Path, name: str) -> None:
    """A corpus under hashed names quotes them."""
    path = tmp_path / name
    path.write_bytes(b"\x1aE\xdf\xa3 no video at all" if name.endswith("mkv") else b"no video at all")
    with pytest.raises(ValueError, match="cannot be read") as caught:
        open_video(path)
    reasons = str(caught.value).replace(f"video {str(path)!r} ", "")
    assert "Ann" not in reasons
    assert "op" not in reasons
    assert "decord: Error reading the file" in reasons
    assert "pyav: Invalid data found when processing input" in reasons


def test_a_name_that_is_a_word_leaves_the_reasons_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").write_bytes(b"no video at all")
    with pytest.raises(ValueError, match=r"pyav: Invalid data found when processing input\)?"):
        open_video("data")


def test_truncated_files(folder: Path, truth: torch.Tensor) -> None:
    """Its header in front, a cut file opens: what is there comes out, then one sentence; nothing ends quietly."""
    whole = write_video(folder / "front.mp4", options={"movflags": "faststart"}).read_bytes()
    cut = folder / "cut.mp4"
    cut.write_bytes(whole[: len(whole) * 6 // 10])
    with open_video(cut) as reader:
        assert reader.backend == "pyav"
        seen: list[int] = []

        def read_on() -> None:
            for chunk in reader.frames(chunk=5):
                assert torch.equal(chunk.pixels, truth[chunk.numbers])
                seen.extend(chunk.numbers)

        with pytest.raises(ValueError, match=r"video '.*cut.mp4' is damaged: pyav cannot decode frame \d+ \("):
            read_on()
        assert 5 < len(seen) < FRAMES
        with pytest.raises(ValueError, match=r"is damaged|ends before frame|frames; frame 69 was asked for"):
            reader.read([69])
        reader.read([2, 20, 3])
        with pytest.raises(ValueError, match=r"is damaged"):
            sum(len(chunk.numbers) for chunk in reader)
    cut.write_bytes(write_video(folder / "back.mp4").read_bytes()[:-500])
    with pytest.raises(ValueError, match=r"video '.*cut.mp4' cannot be read \(decord: .*; pyav: ."):
        open_video(cut)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("cut.avi", {"codec": "mpeg4"}),
        ("cut.mkv", {}),
        ("cut.webm", {"codec": "libvpx"}),
        ("fragments.mp4", {"options": {"movflags": "frag_keyframe+empty_moov"}}),
    ],
)
def test_files_that_are_cut_short(folder: Path, name: str, settings: dict[str, Any]) -> None:
    """What decoders take for a shorter video, the last frame half a picture: PyAV reads it, and says so at the end."""
    path = write_video(folder / name, **settings)
    assert not is_cut_short(str(path))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    assert is_cut_short(str(path))
    for backend in ("decord", *(["torchcodec"] if usable("torchcodec") else [])):
        with pytest.raises(
            ValueError, match=rf"cannot be read \({backend}: {backend} does not notice that the file is"
        ):
            open_video(path, backend)
    with open_video(path) as reader:
        assert reader.backend == "pyav"
        seen = reader.num_frames
        assert reader.read([3, 1]).shape == (2, 48, 64, 3)
        with pytest.raises(ValueError, match=rf"is damaged: pyav cannot decode frame {seen} \(the file "):
            sum(len(chunk.numbers) for chunk in reader)


@pytest.mark.parametrize(
    ("content", "is_short"),
    [
        (b"RIFF\xff\xff\xff\xffAVI ", False),  # of unknown size
        (b"RIFF\x04\x00\x00\x00AVI RIFF\x04\x00\x00\x00AVIX", False),
        (b"RIFF\x04\x00\x00\x00AVI RIFF\x05\x00\x00\x00AVIX", True),
        (b"\x1aE\xdf\xa3\x81.\x18S\x80g\x01\xff\xff\xff\xff\xff\xff\xff.", False),  # of unknown size
        (b"\x1aE\xdf\xa3\x81.\x18S\x80g\x40\x02..", False),
        (b"\x1aE\xdf\xa3\x81.\x18S\x80g\x40\x03..", True),
        (b"\x1aE\xdf\xa3", False),
        (b"\x00\x00\x00\x09ftyp.\x00\x00\x00\x00mdat..", False),  # to the end
        (b"\x00\x00\x00\x01mdat\x00\x00\x00\x00\x00\x00\x00\x12..", False),
        (b"\x00\x00\x00\x01mdat\x00\x00\x00\x00\x00\x00\x00\x13..", True),
        (b"\x00\x00\x00\x09ftyp.padding behind the video", False),
        (b"", False),
    ],
)
def test_sizes_in_containers(tmp_path: Path, content: bytes, is_short: bool) -> None:
    (tmp_path / "x").write_bytes(content)
    assert is_cut_short(str(tmp_path / "x")) == is_short


def test_damage_in_the_middle_is_named(folder: Path) -> None:
    content = bytearray(write_video(folder / "good.mp4").read_bytes())
    begin = content.find(b"mdat") + 4
    content[begin + 1500 :: 1] = bytes(len(content) - begin - 1500)  # the index, behind, is lost as well
    (folder / "bad.mp4").write_bytes(content)
    with pytest.raises(ValueError, match=r"video '.*bad.mp4' cannot be read \(decord: .*; pyav: "):
        open_video(folder / "bad.mp4")


def test_wrong_arguments(video: Path) -> None:
    with pytest.raises(
        ValueError, match=r"^video backend 'opencv' does not exist; there are decord, pyav, torchcodec$"
    ):
        open_video(video, "opencv")
    with open_video(video) as reader:
        with pytest.raises(ValueError, match=r"video '.*clip.mp4' has 70 frames; frame 70 was asked for"):
            reader.read([0, 70])
        with pytest.raises(ValueError, match=r"has 70 frames; frame -1 was asked for"):
            next(reader.frames([-1]))
        with pytest.raises(TypeError, match=r"'float' object cannot be interpreted as an integer"):
            reader.read([1.5])  # type: ignore[list-item]
        with pytest.raises(ValueError, match=r"frame numbers must ascend"):
            next(reader.frames([3, 3]))
        with pytest.raises(ValueError, match=r"step and chunk must be at least 1, got 1 and 0"):
            next(reader.frames(chunk=0))


def test_what_is_not_installed(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"av"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in there else None)
    with open_video(video) as reader:
        assert reader.backend == "pyav"
    with pytest.raises(ImportError, match=r"^video backend 'decord' is not installed: pip install decord"):
        open_video(video, "decord")
    there.clear()
    with pytest.raises(ImportError, match=r"^no video decoder is installed: pip install decord"):
        open_video(video)


def test_png_files_can_be_read_after_decord(video: Path, tmp_path: Path) -> None:
    """The libpng that decord brings would take the place of OpenCV's own."""
    script = """
open_video(sys.argv[1], "decord").read([0])
import cv2, numpy
cv2.imwrite(sys.argv[2], numpy.zeros((8, 8, 3), numpy.uint8))
assert cv2.imread(sys.argv[2]) is not None
"""
    run_alone(script, str(video), str(tmp_path / "a.png"))


def test_sampling_by_hand() -> None:
    assert sample_indices(4, None) == [0, 1, 2, 3]
    assert sample_indices(10, None, stride=4) == [0, 4, 8]
    assert sample_indices(10, None, num_frames=4) == [0, 2, 5, 7]
    assert sample_indices(10, None, num_frames=10) == list(range(10))
    assert sample_indices(30, 10, fps=2) == [0, 5, 10, 15, 20, 25]
    assert sample_indices(10, 25, fps=10) == [0, 2, 5, 7]  # 2.5 and 7.5 lie between two frames: the earlier
    assert sample_indices(1, 25, fps=1) == [0]
    assert sample_indices(5, 29.97, fps=30) == [0, 1, 2, 3, 4]  # rounded rates count as equal


@pytest.mark.parametrize("native", [24.0, 25.0, 30000 / 1001, 60.0])
@pytest.mark.parametrize("fps", [0.5, 1.0, 7.0, 24.0])
def test_sampling_by_rate_is_that_of_the_corpus(native: float, fps: float) -> None:
    times = np.arange(733) / native
    expected = choose_frames(VideoFacts(733, native, times, [0], 0.0, ""), fps, "exact").indices.tolist()
    assert sample_indices(733, native, fps=fps) == sample_indices(733, native, fps=fps, timestamps=times) == expected


def test_sampling_by_true_times() -> None:
    """The first ten frames last twice as long as the others."""
    times = np.array([*np.arange(10) / 5, *(2 + np.arange(20) / 10)])
    assert sample_indices(30, 7.5, fps=1, timestamps=times) == [0, 5, 10, 20]
    assert sample_indices(30, 7.5, fps=1) == [0, 7, 15, 22]  # 7.5 and 22.5: the earlier one
    assert nearest_frames([0.0, 0.4, 1.1, 1.2, 5.0, 5.1], 1.0) == [0, 2, 3, 3, 4, 4]
    assert nearest_frames([0.0, 4.0], 1.0, last=6.5) == [0, 0, 0, 1, 1, 1, 1]
    assert nearest_frames([], 1.0) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fps": 1, "stride": 2}, r"^fps and stride are given; at most one of fps, num_frames and stride is wanted$"),
        ({"fps": 31}, r"^fps=31 is above the 30 frames per second of the video$"),
        ({"fps": 0}, r"^fps must be above 0, got 0$"),
        ({"num_frames": 91}, r"^num_frames=91 is more than the 90 frames of the video$"),
        ({"num_frames": 0}, r"^num_frames must be an integer of at least 1, got 0$"),
        ({"stride": 0}, r"^stride must be an integer of at least 1, got 0$"),
        ({"stride": float("inf")}, r"^stride must be an integer of at least 1, got inf$"),
        ({"stride": 1.5}, r"^stride must be an integer of at least 1, got 1.5$"),
    ],
)
def test_impossible_sampling(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample_indices(90, 30, **settings)


def test_sampling_nothing() -> None:
    with pytest.raises(ValueError, match=r"^the video has no frames$"):
        sample_indices(0, 30)
    with pytest.raises(ValueError, match=r"^fps=2 needs the frame rate of the video, which is unknown"):
        sample_indices(9, None, fps=2)

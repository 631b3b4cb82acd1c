"""Curation of key frames only, of variable rates, of rotated and of interlaced video: what is stored and recorded."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from training.corpus.curation import curate
from training.corpus.decoder_process import DecodingSettings
from training.corpus.manifest import read_drops


def write(path: Path, frames: list[np.ndarray], times: list[int], codec: str = "libx264", **options: str) -> Path:
    """A video at 10 frames per second, frame n at times[n] / 10 s."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=10, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture, time in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def stored(out: Path) -> list[tuple[int, float]]:
    """Native frame number and time of every frame in the shards."""
    table = pq.read_table(out / "shards", columns=["frame_index", "timestamp"])
    rows = zip(table["frame_index"].to_pylist(), table["timestamp"].to_pylist(), strict=True)
    return sorted((index, round(time, 6)) for index, time in rows)


def test_keyframes_keep_their_own_times(tmp_path, moving, settings):
    """Key frames every 1.5 s: the times 0 to 5 s are answered by 0, 1.5, 1.5, 3, 4.5, 4.5 (errors 0 .5 .5 0 .5 .5)."""
    write(tmp_path / "data" / "a.mp4", moving(6), list(range(60)), g="15", **{"x264-params": "scenecut=0"})
    curate([tmp_path / "data"], tmp_path / "out", settings(decoding=DecodingSettings(threads=1, mode="keyframes")))
    assert stored(tmp_path / "out") == [(0, 0.0), (15, 1.5), (30, 3.0), (45, 4.5)]
    record = json.loads((tmp_path / "out" / "curation.json").read_text())
    assert record["counts"]["decoding"] == {
        "videos": 1,
        "deinterlaced": 0,
        "time_error_mean": pytest.approx(2 / 6, abs=1e-6),
        "time_error_max": 0.5,
    }
    assert record["settings"]["decoding"]["mode"] == "keyframes"


def test_keyframes_of_a_stream_without_times_are_refused(tmp_path, moving, settings):
    write(tmp_path / "data" / "a.mp4", moving(3), list(range(30)))
    raw = write(tmp_path / "raw.h264", moving(3), list(range(30)))
    raw.rename(tmp_path / "data" / "b.avi")  # what cameras write under a wrong name
    curate([tmp_path / "data"], tmp_path / "out", settings(decoding=DecodingSettings(threads=1, mode="keyframes")))
    drops = [(drop.reason, drop.detail) for drop in read_drops(tmp_path / "out" / "drops.parquet")]
    assert drops == [("undecodable", "the file states no times of its key frames, which decoding.mode=keyframes needs")]


def test_variable_rates_are_sampled_by_true_times(tmp_path, moving, settings):
    """Thirty frames in three seconds, then four, a second apart: numbers are native, times those of the file."""
    times = [*range(30), 30, 40, 50, 60]
    write(tmp_path / "data" / "a.mkv", moving(4)[:34], times)
    curate([tmp_path / "data"], tmp_path / "out", settings())
    assert stored(tmp_path / "out") == [(0, 0.0), (10, 1.0), (20, 2.0), (30, 3.0), (31, 4.0), (32, 5.0), (33, 6.0)]
    counts = json.loads((tmp_path / "out" / "curation.json").read_text())["counts"]
    assert counts["decoding"]["time_error_max"] == 0


def test_rotated_video_is_stored_upright(tmp_path, moving, settings):
    path = write(tmp_path / "data" / "a.mp4", moving(2), list(range(20)))
    content = path.read_bytes()
    matrix = content.find(b"tkhd") + 44
    quarter = b"".join(number.to_bytes(4, "big", signed=True) for number in (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30))
    path.write_bytes(content[:matrix] + quarter + content[matrix + 36 :])
    curate([tmp_path / "data"], tmp_path / "out", settings())
    sizes = pq.read_table(tmp_path / "out" / "manifest.parquet", columns=["width", "height"]).to_pylist()
    assert sizes == [{"width": 64, "height": 85}]  # 96 x 128 after the turn, to a short side of 64


@pytest.mark.parametrize(("deinterlace", "count"), [("auto", 1), ("never", 0)])
def test_deinterlacing_is_recorded(tmp_path, moving, settings, deinterlace, count):
    write(tmp_path / "data" / "a.mkv", moving(3), list(range(30)), "libx264", **{"x264-params": "tff=1:keyint=10"})
    decoding = DecodingSettings(threads=1, deinterlace=deinterlace)
    curate([tmp_path / "data"], tmp_path / "out", settings(decoding=decoding))
    assert json.loads((tmp_path / "out" / "curation.json").read_text())["counts"]["decoding"]["deinterlaced"] == count
    assert [index for index, _ in stored(tmp_path / "out")] == [0, 10, 20]

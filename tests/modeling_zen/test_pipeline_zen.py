"""The video-feature-extraction pipeline: right numbers, bounded memory, files on disk, bad input, no package needed."""

import importlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import pipeline as make_pipeline

import modeling_zen.pipeline_zen as module
from modeling_zen import ZenConfig, ZenImageProcessor, ZenModel, ZenVideoProcessor
from modeling_zen.feature_writer_zen import ClipMeans, FeatureRows, ParquetSink, RowBuffer
from modeling_zen.video_decoding_zen import FrameChunk, VideoReader, open_video

FRAMES, FPS = 50, 10
pipeline: Any = make_pipeline  # typed for the tasks of transformers only


def write_video(path: Path, frames: int = FRAMES) -> Path:
    """A small H.264 file whose every frame looks different."""
    texture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt, stream.options = 96, 64, "yuv420p", {"preset": "ultrafast"}
        for index in range(frames):
            view = np.ascontiguousarray(texture[index : index + 64, 2 * index : 2 * index + 96])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "case.mp4")


@pytest.fixture
def extract(model: ZenModel) -> Any:
    processor = ZenVideoProcessor(size={"height": 64, "width": 64})
    return pipeline("video-feature-extraction", model=model, video_processor=processor, device="cpu")


@pytest.fixture
def videos(video: Path, tmp_path: Path) -> Path:
    """A folder with two good files, one below, a damaged one, one that is no video, and a hidden one."""
    folder = tmp_path / "videos"
    (folder / "below").mkdir(parents=True)
    (folder / "a.mp4").write_bytes(video.read_bytes())
    write_video(folder / "below" / "c.mp4", frames=20)
    (folder / "b.mp4").write_bytes(b"\0" * 2000)
    (folder / "notes.txt").write_text("no video")
    (folder / ".hidden").write_text("")
    return folder


@torch.no_grad()
def by_hand(model: ZenModel, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (n, hidden) and maps (n, hidden, 4, 4), frame by frame through the image processor."""
    processor = ZenImageProcessor(size={"height": 64, "width": 64})
    pixels = torch.cat([processor(frame.numpy(), return_tensors="pt").pixel_values for frame in frames])
    outputs = model(pixels)
    return outputs.pooler_output, model.dense_tokens(outputs.last_hidden_state, 64, 64)


SAMPLINGS: list[tuple[dict[str, Any], list[int]]] = [
    ({}, list(range(50))),
    ({"fps": 2}, list(range(0, 50, 5))),
    ({"num_frames": 4}, [0, 12, 25, 37]),
    ({"stride": 17}, [0, 17, 34]),
]


@pytest.mark.parametrize(("sampling", "numbers"), SAMPLINGS)
def test_the_numbers_of_model_and_image_processor(
    extract: Any, model: ZenModel, video: Path, sampling: dict[str, Any], numbers: list[int]
) -> None:
    result = extract(video, **sampling)
    with open_video(video) as reader:
        pooled, maps = by_hand(model, reader.read(numbers))
    assert result["frame_numbers"].tolist() == numbers
    assert result["timestamps"].tolist() == pytest.approx([number / FPS for number in numbers])
    assert result["features"].dtype == torch.float32
    torch.testing.assert_close(result["features"], pooled, rtol=1e-5, atol=1e-6)
    dense = extract(video, level="dense", frames_per_pass=3, **sampling)["features"]
    torch.testing.assert_close(dense, maps, rtol=1e-5, atol=1e-6)
    assert not result["features"].is_inference()  # a probe can be trained on them


def test_image_processor_alone_and_sampling_of_the_video_processor(model: ZenModel, video: Path, extract: Any) -> None:
    size = {"height": 64, "width": 64}
    by_image: Any = pipeline(module.TASK, model=model, image_processor=ZenImageProcessor(size=size), device="cpu")
    wanted = extract(video, stride=25)["features"]
    torch.testing.assert_close(by_image(video, stride=25)["features"], wanted)
    sparse: Any = pipeline(module.TASK, model=model, video_processor=ZenVideoProcessor(size=size, fps=2), device="cpu")
    assert sparse(video)["num_rows"] == 10
    assert sparse(video, num_frames=3)["num_rows"] == 3  # instead of, not beside
    preset: Any = pipeline(module.TASK, model=model, video_processor=sparse.video_processor, device="cpu", stride=25)
    assert preset(video)["num_rows"] == 2
    assert preset(video, fps=1)["num_rows"] == 5
    with pytest.raises(ValueError, match="needs a video processor or an image processor"):
        pipeline(module.TASK, model=model, device="cpu")


def test_field_of_view_is_one_box_for_the_video(model: ZenModel) -> None:
    frames = torch.zeros(10, 80, 120, 3, dtype=torch.uint8)
    frames[:, 10:70, 30:90] = torch.randint(60, 256, (10, 60, 60, 3), generator=torch.Generator().manual_seed(0)).byte()
    processor = ZenVideoProcessor(size={"height": 64, "width": 64}, do_crop_field_of_view=True)
    crop: Any = pipeline(module.TASK, model=model, video_processor=processor, device="cpu")
    with torch.no_grad():
        wanted = model(processor(frames, return_tensors="pt").pixel_values_videos[0]).pooler_output
    torch.testing.assert_close(crop(frames, frames_per_pass=3)["features"], wanted, rtol=1e-5, atol=1e-6)


def test_clips_are_means_over_windows(extract: Any, video: Path) -> None:
    frames = extract(video)["features"]
    whole = extract(video, level="clip", frames_per_pass=7)
    torch.testing.assert_close(whole["features"], frames.mean(0, keepdim=True), rtol=1e-5, atol=1e-6)
    assert (whole["timestamps"].tolist(), whole["frame_numbers"].tolist()) == ([0.0], [0])
    windows = extract(video, level="clip", window_seconds=2, frames_per_pass=7)
    assert windows["timestamps"].tolist() == [0.0, 2.0, 4.0]
    assert windows["frame_numbers"].tolist() == [0, 20, 40]
    wanted = torch.stack([frames[start : start + 20].mean(0) for start in (0, 20, 40)])
    torch.testing.assert_close(windows["features"], wanted, rtol=1e-5, atol=1e-6)


def test_means_by_hand() -> None:
    means = ClipMeans(1.0)
    rows = FeatureRows(
        torch.tensor([0, 5, 30]), torch.tensor([0.0, 0.5, 3.0]).double(), torch.tensor([[1.0], [3], [7]])
    )
    [first] = means.add(rows)  # second 1 and 2 have no frames and no row
    assert [each.tolist() for each in first] == [[0], [0.0], [[2.0]]]
    [last] = means.finish()
    assert [each.tolist() for each in last] == [[30], [3.0], [[7.0]]]
    assert means.finish() == []


def test_arrays_lists_and_kinds_of_result(extract: Any, video: Path) -> None:
    with open_video(video) as reader:
        frames = reader.read(range(6))
    wanted = extract(frames, source_fps=10)
    assert wanted["source"] == "frames"
    assert wanted["timestamps"].tolist() == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert extract(frames)["timestamps"].isnan().all()  # unknown, and not invented
    array = extract(frames.numpy(), return_as="numpy")["features"]
    assert isinstance(array, np.ndarray)
    assert array.dtype == np.float32
    images = extract([Image.fromarray(frame.numpy()) for frame in frames], return_as="list")["features"]
    assert isinstance(images[0][0], float)
    for features in (array, np.array(images, np.float32), extract(list(frames))["features"].numpy()):
        assert np.array_equal(features, wanted["features"].numpy())
    several = extract([frames, str(video), list(frames[:2])], stride=2)
    assert [result["source"] for result in several] == ["frames 0", str(video), "frames 2"]
    assert [result["num_rows"] for result in several] == [3, 25, 1]
    assert extract(frames, fps=5, source_fps=10)["num_rows"] == 3


def test_folder_goes_on_after_damage(extract: Any, videos: Path) -> None:
    results = extract(videos, fps=2)
    assert [result["source"] for result in results] == ["a.mp4", "b.mp4", "below/c.mp4", "notes.txt"]
    assert [result["num_rows"] for result in results] == [10, 0, 4, 0]
    assert [result["error"] is None for result in results] == [True, False, True, False]
    assert "b.mp4' cannot be read" in results[1]["error"]
    assert results[1]["features"] is None
    torch.testing.assert_close(results[2]["features"], extract(videos / "below" / "c.mp4", fps=2)["features"])


@pytest.mark.parametrize("level", ["frame", "dense"])
@pytest.mark.parametrize("suffix", [".parquet", ".safetensors"])
def test_files_hold_the_same_numbers(
    extract: Any, videos: Path, tmp_path: Path, level: str, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modeling_zen.feature_writer_zen.ROW_GROUP_BYTES", 1000)
    output = tmp_path / f"features{suffix}"
    written = extract(videos, fps=2, level=level, output=output)
    in_memory = extract(videos, fps=2, level=level)
    assert [result["num_rows"] for result in written] == [10, 0, 4, 0]
    assert all(result["features"] is None and result["output"] == str(output) for result in written)
    good = [result for result in in_memory if result["error"] is None]
    if suffix == ".parquet":
        table = pq.read_table(output)
        shape = json.loads(table.schema.metadata[b"feature_shape"])
        errors = json.loads(pq.ParquetFile(output).metadata.metadata[b"errors"])
        features = torch.tensor(table["features"].combine_chunks().values.to_numpy()).unflatten(0, (-1, *shape))
        assert torch.equal(features, torch.cat([result["features"] for result in good]))
        assert table["timestamp"].to_pylist() == torch.cat([result["timestamps"] for result in good]).tolist()
        assert table["frame_number"].to_pylist() == torch.cat([result["frame_numbers"] for result in good]).tolist()
        assert table["source"].to_pylist() == ["a.mp4"] * 10 + ["below/c.mp4"] * 4
        assert pq.ParquetFile(output).num_row_groups > 1
    else:
        tensors = load_file(output)
        errors = json.loads(safe_open(output, "pt").metadata()["errors"])
        assert len(tensors) == 6
        for result in good:
            for name in ("features", "timestamps", "frame_numbers"):
                assert torch.equal(tensors[f"{result['source']}/{name}"], result[name])
    assert set(errors) == {"b.mp4", "notes.txt"}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([output.name, "videos"])


def test_one_video_to_safetensors_has_plain_names(extract: Any, video: Path, tmp_path: Path) -> None:
    result = extract(video, stride=10, output=tmp_path / "f.safetensors")
    assert result["num_rows"] == 5
    assert set(load_file(tmp_path / "f.safetensors")) == {"features", "timestamps", "frame_numbers"}


@pytest.mark.parametrize("suffix", [".parquet", ".safetensors"])
def test_a_failure_leaves_no_file(extract: Any, video: Path, tmp_path: Path, suffix: str) -> None:
    calls = []

    def fail(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("out of memory")
        return ZenModel.forward(extract.model, *args, **kwargs)

    extract.model.forward = fail
    with pytest.raises(RuntimeError, match="out of memory"):
        extract(video, output=tmp_path / f"x{suffix}")
    assert list(tmp_path.iterdir()) == []
    assert not [thread for thread in threading.enumerate() if thread.name == "zen-video-decoding"]


class EndlessReader(VideoReader):
    """A long video that counts how many batches of frames were decoded; damaged at frame `damage`."""

    backend, source, fps, height, width, num_frames = "none", "long", 10.0, 64, 64, 400
    damage = 400

    def __init__(self) -> None:
        self.decoded = 0

    def _decode(self, numbers: Iterator[int], chunk: int) -> Iterator[FrameChunk]:
        for start in range(0, min(self.damage, 400), chunk):
            self.decoded += chunk
            batch = list(range(start, start + chunk))
            yield FrameChunk(batch, [number / 10 for number in batch], torch.zeros(chunk, 64, 64, 3, dtype=torch.uint8))
        if self.damage < 400:
            raise ValueError("video 'long' is damaged")


def test_decoding_runs_ahead_but_not_away(extract: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for is_ahead, most in (
        (True, (module.BATCHES_AHEAD + 1) * 8),
        (False, 0),
    ):  # two batches wait, one is in the making
        monkeypatch.setattr(module, "_can_work_ahead", lambda device, is_ahead=is_ahead: is_ahead)
        lead = leads_of_decoding(extract, monkeypatch)
        assert is_ahead == (max(lead) > 0)
        assert max(lead) <= most


def leads_of_decoding(extract: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """By how many frames decoding was ahead of a slow model, at each of its passes."""
    reader, lead = EndlessReader(), []
    monkeypatch.setattr(module, "open_video", lambda *args, **kwargs: reader)

    def slow(pixel_values: torch.Tensor) -> Any:
        time.sleep(0.01)
        slow.seen += len(pixel_values)  # type: ignore[attr-defined]
        lead.append(reader.decoded - slow.seen)  # type: ignore[attr-defined]
        return ZenModel.forward(extract.model, pixel_values)

    slow.seen = 0  # type: ignore[attr-defined]
    monkeypatch.setattr(extract.model, "forward", slow)
    assert extract("long", frames_per_pass=8)["num_rows"] == 400
    return lead


@pytest.mark.parametrize(
    ("device", "cores", "threads", "ahead"), [("cpu", 2, 2, False), ("cpu", 4, 2, True), ("cuda", 2, 2, True)]
)
def test_it_works_ahead_where_a_core_or_a_gpu_is_free(
    device: str, cores: int, threads: int, ahead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
    monkeypatch.setattr(module.torch, "get_num_threads", lambda: threads)
    assert module._can_work_ahead(torch.device(device)) is ahead


def test_damage_in_the_middle(extract: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "open_video", lambda *args, **kwargs: EndlessReader())
    monkeypatch.setattr(EndlessReader, "damage", 48)
    with pytest.raises(ValueError, match="video 'long' is damaged"):
        extract("long")
    [result] = extract(["long"])
    assert (result["num_rows"], len(result["features"])) == (48, 48)
    assert result["error"] == "video 'long' is damaged"


ERRORS: list[tuple[dict[str, Any], str]] = [
    ({"fps": 1, "stride": 2}, "fps and stride are given; at most one of fps, num_frames and stride is wanted"),
    ({"return_as": "pandas"}, "return_as='pandas' does not exist; there are torch, numpy, list"),
    ({"level": "video"}, "level='video' does not exist; there are frame, clip, dense"),
    ({"output": "x.csv"}, "output 'x.csv' ends in '.csv'; features are written to .parquet or .safetensors"),
    ({"output": "nowhere/x.parquet"}, "the folder of output 'nowhere/x.parquet' does not exist; make it first"),
    ({"window_seconds": 5}, "window_seconds is the length of a clip; it needs level=\"clip\", not 'frame'"),
    ({"fps": 0}, "fps must be above 0, got 0"),
    ({"stride": 1.5}, "stride must be an integer, got 1.5"),
    ({"frame_rate": 1}, "video-feature-extraction has no setting 'frame_rate'; it has fps, num_frames, stride"),
    ({"fps": 20}, "fps=20 is above the 10 frames per second of the video"),
    ({"source_fps": 20}, "source_fps is for frames in memory; the file "),
    ({"backend": "vlc"}, "video backend 'vlc' does not exist"),
]


@pytest.mark.parametrize(("settings", "sentence"), ERRORS)
def test_wrong_settings(extract: Any, video: Path, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(sentence)):
        extract(video, **settings)


def test_wrong_inputs(extract: Any, video: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere.mp4' does not exist"):
        extract("nowhere.mp4")
    with pytest.raises(ValueError, match="holds no files"):
        extract(tmp_path)
    (tmp_path / "broken.mp4").write_bytes(b"\0" * 99)
    with pytest.raises(ValueError, match=r"broken.mp4' cannot be read"):
        extract(tmp_path / "broken.mp4")
    with pytest.raises(ValueError, match="none of the 1 videos can be decoded; the first: "):
        extract(tmp_path, output=tmp_path / "x.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["broken.mp4"]
    (tmp_path / "broken.parquet").touch()
    with pytest.raises(FileExistsError, match=r"broken.parquet' exists already; remove it"):
        extract(video, output=tmp_path / "broken.parquet")
    with pytest.raises(ValueError, match="the list is empty"):
        extract([])
    with pytest.raises(ValueError, match="is given twice"):
        extract([video, video])
    with pytest.raises(ValueError, match=r"not Tensor of shape \(3, 3\)"):
        extract(torch.zeros(3, 3))
    with pytest.raises(ValueError, match="'frames' has no frames"):
        extract(torch.zeros(0, 8, 8, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"has shape \(8, 8, 4\) instead of \(height, width, 3\)"):
        extract(torch.zeros(2, 8, 8, 4, dtype=torch.uint8))
    with pytest.raises(ValueError, match="frame 1 of video 'frames' has 9 x 8 pixels, not 8 x 8 as the first one"):
        extract([torch.zeros(8, 8, 3, dtype=torch.uint8), torch.zeros(8, 9, 3, dtype=torch.uint8)])
    with pytest.raises(ValueError, match="window_seconds needs times, and frames in memory have none; give source_fps"):
        extract(torch.zeros(2, 8, 8, 3, dtype=torch.uint8), level="clip", window_seconds=1)
    with pytest.raises(ValueError, match="has no batch_size and num_workers; frames_per_pass says"):
        pipeline(module.TASK, model=extract.model, video_processor=extract.video_processor, batch_size=4, device="cpu")


@pytest.mark.parametrize("row_group", [0, 1000])
def test_one_parquet_column_has_one_shape(tmp_path: Path, row_group: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modeling_zen.feature_writer_zen.ROW_GROUP_BYTES", row_group)
    sink = ParquetSink(tmp_path / "x.parquet", ["a", "b"])
    rows = FeatureRows(torch.zeros(1).long(), torch.zeros(1).double(), torch.zeros(1, 4))
    sink.append("a", rows)
    with pytest.raises(ValueError, match=r"features of 'b' have shape \(6,\), not \(4,\) as those before"):
        sink.append("b", rows._replace(features=torch.zeros(1, 6)))
    sink.discard()
    assert list(tmp_path.iterdir()) == []


def test_rows_are_gathered_in_few_tensors() -> None:
    buffer, made = RowBuffer(), set()
    for index in range(500):
        row = FeatureRows(torch.tensor([index]), torch.tensor([index / 10]).double(), torch.full((1, 3), float(index)))
        buffer.append("x", row)
        made.add(buffer._columns.features.data_ptr())  # type: ignore[union-attr]
    assert len(made) <= 4  # 64, 128, 256, 512
    rows = buffer.take()
    assert rows is not None
    assert rows.frame_numbers.tolist() == list(range(500))
    assert rows.features[:, 2].tolist() == list(range(500))
    assert buffer.take() is None


def test_pyarrow_missing(extract: Any, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr("modeling_zen.feature_writer_zen.importlib.import_module", lacking)
    with pytest.raises(ImportError, match="writing Parquet needs pyarrow: pip install pyarrow"):
        extract(video, output=tmp_path / "x.parquet")
    monkeypatch.undo()
    importlib.invalidate_caches()


SCRIPT = """
import sys
sys.modules["modeling_zen"] = None  # importing the package, were it installed, is an ImportError
import torch
from safetensors.torch import load_file
from transformers import pipeline

torch.set_num_threads(1)
folder, video, wanted = sys.argv[1:]
extract = pipeline("video-feature-extraction", model=folder, trust_remote_code=True, device="cpu")
assert type(extract).__module__.startswith("transformers_modules."), type(extract)
assert type(extract.video_processor).__name__ == "ZenVideoProcessor"
result = extract(video, fps=2)
assert torch.equal(result["features"], load_file(wanted)["features"])
assert pipeline(model=folder, trust_remote_code=True, device="cpu").task == "video-feature-extraction"
try:
    pipeline("video-feature-extraction", model=folder, trust_remote_code=False)
except ValueError as error:
    assert "trust_remote_code" in str(error), error
else:
    raise AssertionError("custom code must not run unasked")
print("equal")
"""


def test_saved_pipeline_with_and_without_the_package(extract: Any, video: Path, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    extract.save_pretrained(folder)
    assert set(json.loads((folder / "config.json").read_text())["custom_pipelines"]) == {module.TASK}
    assert {"pipeline_zen.py", "feature_writer_zen.py", "video_decoding_zen.py"} <= {
        path.name for path in folder.iterdir()
    }
    # Who has the package is asked nothing.
    local: Any = pipeline(module.TASK, model=str(folder), device="cpu")
    assert type(local) is module.ZenVideoFeatureExtractionPipeline
    local(video, fps=2, output=tmp_path / "wanted.safetensors")
    # Saving what was loaded keeps the entry.
    local.model.save_pretrained(tmp_path / "again")
    assert "custom_pipelines" in json.loads((tmp_path / "again" / "config.json").read_text())

    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf_home")}
    (tmp_path / "elsewhere").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), str(video), str(tmp_path / "wanted.safetensors")],
        cwd=tmp_path / "elsewhere",
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("equal")


def test_a_model_that_was_saved_is_still_not_distrusted(tmp_path: Path) -> None:
    """config.json names the pipeline of the folder; the model in memory and the package know their own."""
    config = ZenConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=4, image_size=64)
    model = ZenModel(config).eval()
    model.save_pretrained(tmp_path)
    assert "video-feature-extraction" in json.loads((tmp_path / "config.json").read_text())["custom_pipelines"]
    extract: Any = pipeline("video-feature-extraction", model=model, video_processor=ZenVideoProcessor())
    assert type(extract) is module.ZenVideoFeatureExtractionPipeline
    model.config.save_pretrained(tmp_path)
    assert type(pipeline("video-feature-extraction", model=model, video_processor=ZenVideoProcessor())) is type(extract)

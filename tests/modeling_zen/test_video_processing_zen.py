"""ZenVideoProcessor: the same numbers as ZenImageProcessor frame by frame, files, sampling, refusals."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from transformers import AutoVideoProcessor

import modeling_zen.video_processing_zen as module
from modeling_zen import ZenImageProcessor, ZenVideoProcessor

SMALL = {"height": 32, "width": 48}


def frames(count: int = 5, height: int = 72, width: int = 96) -> np.ndarray:
    """Frame i is a vertical ramp that starts at 20 i."""
    ramp = np.linspace(0, 100, height)[None, :, None, None] + 20 * np.arange(count)[:, None, None, None]
    return np.broadcast_to(ramp, (count, height, width, 3)).astype(np.uint8)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Thirty frames at 10 per second."""
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 72, "yuv420p"
        for index in range(30):
            picture = np.full((72, 96, 3), 8 * index, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def test_a_frame_gives_the_same_numbers_alone_and_in_its_video() -> None:
    clip = frames()
    together = ZenVideoProcessor(size=SMALL)(clip, return_tensors="pt").pixel_values_videos
    assert together.shape == (1, 5, 3, 32, 48)
    assert together.dtype == torch.float32
    alone = ZenImageProcessor(size=SMALL)(list(clip), return_tensors="pt").pixel_values
    assert torch.equal(together[0], alone)
    assert ZenVideoProcessor().to_dict().items() >= {"do_resize": True, "size": {"height": 224, "width": 224}}.items()


def test_a_file_is_read_whole_or_sampled(video: Path) -> None:
    processor = ZenVideoProcessor(size=SMALL)
    whole = processor(str(video), return_tensors="pt", return_metadata=True)
    assert whole.pixel_values_videos.shape == (1, 30, 3, 32, 48)
    levels = whole.pixel_values_videos[0, :, 0].mean((1, 2)) * 0.229 + 0.485
    torch.testing.assert_close(levels * 255, torch.arange(30) * 8.0, atol=3, rtol=0)  # H.264 rounds
    sampled = processor([str(video)], do_sample_frames=True, num_frames=3, return_tensors="pt", return_metadata=True)
    chosen = list(sampled.video_metadata[0].frames_indices)
    assert len(chosen) == 3
    assert torch.equal(sampled.pixel_values_videos[0], whole.pixel_values_videos[0, chosen])
    at_two = processor(str(video), do_sample_frames=True, fps=2, return_tensors="pt").pixel_values_videos
    assert at_two.shape[1] == 6  # of 3 seconds


def test_decoders_are_tried_in_turn(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processor = ZenVideoProcessor(size=SMALL)
    expected = processor(str(video), return_tensors="pt").pixel_values_videos
    monkeypatch.setattr(module, "is_decord_available", lambda: False)
    assert torch.equal(processor(str(video), return_tensors="pt").pixel_values_videos, expected)
    monkeypatch.setattr(module, "is_av_available", lambda: False)
    monkeypatch.setattr(module, "is_torchcodec_available", lambda: False)
    with pytest.raises(ImportError, match=r"no video decoder is installed: pip install decord"):
        processor(str(video))


def test_refusals(video: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"video 'nowhere.mp4' does not exist"):
        ZenVideoProcessor()("nowhere.mp4")
    with pytest.raises(ValueError, match=r"ZenVideoProcessor has no setting 'num_frame'; did you mean 'num_frames'"):
        ZenVideoProcessor(num_frame=3)
    with pytest.raises(ValueError, match="mutually exclusive"):
        ZenVideoProcessor()(str(video), do_sample_frames=True, fps=1, num_frames=3)


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_damaged_files_are_named(video: Path, decoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "is_decord_available", lambda: decoder == "decord")
    content = video.read_bytes()
    for damaged in (b"", b"no video at all", content[: len(content) // 2]):
        video.write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"video '.*clip.mp4' cannot be read by {decoder}: ."):
            ZenVideoProcessor()(str(video))


def test_it_comes_back_from_its_folder(tmp_path: Path) -> None:
    ZenVideoProcessor(size=SMALL, fps=2, do_sample_frames=True).save_pretrained(tmp_path)
    assert {"video_preprocessor_config.json", "video_processing_zen.py"} <= {file.name for file in tmp_path.iterdir()}
    loaded = AutoVideoProcessor.from_pretrained(tmp_path, trust_remote_code=False)
    assert type(loaded) is ZenVideoProcessor
    assert loaded.to_dict() == ZenVideoProcessor.from_pretrained(tmp_path).to_dict()
    assert (loaded.fps, loaded.do_sample_frames) == (2, True)

"""ZenVideoProcessor: the numbers of ZenImageProcessor, files, sampling, one field of view per video, refusals."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from transformers import AutoVideoProcessor

import modeling_zen.video_decoding_zen as decoding
from modeling_zen import ZenImageProcessor, ZenVideoProcessor
from modeling_zen.video_decoding_zen import open_video

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


def test_what_the_call_says_counts(video: Path) -> None:
    """The call over the constructor, each of the three settings, and `do_sample_frames=False` over all of them."""

    def chosen(processor: ZenVideoProcessor, **settings: Any) -> list[int]:
        result = processor([video], return_tensors="pt", return_metadata=True, **settings)
        numbers = list(result.video_metadata[0].frames_indices)
        assert result.pixel_values_videos.shape[1] == len(numbers)
        return numbers

    plain, rated = ZenVideoProcessor(size=SMALL), ZenVideoProcessor(size=SMALL, fps=2)
    assert chosen(plain) == chosen(rated, do_sample_frames=False) == list(range(30))
    assert chosen(plain, stride=12) == [0, 12, 24]
    assert chosen(rated) == [0, 5, 10, 15, 20, 25]
    assert chosen(rated, num_frames=3) == chosen(rated, num_frames=3, do_sample_frames=True) == [0, 10, 20]
    assert chosen(ZenVideoProcessor(size=SMALL, stride=20)) == [0, 20]
    assert chosen(plain, stride=12, do_sample_frames=False) == list(range(30))


def test_metadata_of_a_file(video: Path) -> None:
    result = ZenVideoProcessor(size=SMALL)(str(video), stride=10, return_metadata=True)
    metadata = result.video_metadata[0]
    assert (metadata.total_num_frames, metadata.fps, metadata.duration) == (30, 10, 3)
    assert (metadata.height, metadata.width, metadata.video_backend) == (72, 96, "pyav")
    assert metadata.timestamps == [0, 1, 2]


def test_arrays_are_sampled_too() -> None:
    clip, processor = frames(6), ZenVideoProcessor(size=SMALL)
    whole = processor(clip, return_tensors="pt").pixel_values_videos
    assert torch.equal(processor(clip, stride=2, return_tensors="pt").pixel_values_videos, whole[:, ::2])
    metadata = [{"total_num_frames": 6, "fps": 3.0}]
    at_one = processor(clip, fps=1, video_metadata=metadata, return_tensors="pt").pixel_values_videos
    assert torch.equal(at_one, whole[:, ::3])
    with pytest.raises(ValueError, match=r"^fps=1 needs the frame rate of the video, which is unknown"):
        processor(clip, fps=1)


def test_layouts_mix() -> None:
    """Each video says for itself where its channels are; paths need not be text."""
    clip = frames(3)
    expected = ZenVideoProcessor(size=SMALL)(clip, return_tensors="pt").pixel_values_videos[0]
    batch = [clip, clip.transpose(0, 3, 1, 2), np.ascontiguousarray(clip[:, :, :, :1])]
    for video in ZenVideoProcessor(size=SMALL)(batch, return_tensors="pt").pixel_values_videos:
        assert torch.equal(video, expected)


def test_decoders_are_tried_in_turn(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processor = ZenVideoProcessor(size=SMALL)
    expected = processor(str(video), return_tensors="pt").pixel_values_videos
    installed = ["pyav"]
    monkeypatch.setattr(decoding, "installed_backends", lambda: installed)
    result = processor(str(video), return_tensors="pt", return_metadata=True)
    assert torch.equal(result.pixel_values_videos, expected)
    assert result.video_metadata[0].video_backend == "pyav"
    installed.clear()
    with pytest.raises(ImportError, match=r"no video decoder is installed: pip install decord"):
        processor(str(video))


def test_one_field_of_view_per_video(video: Path) -> None:
    """One frame is dark, another fills the border: the box is that of all, and the same for all."""
    noise = np.random.default_rng(0).integers(120, 200, (12, 9, 16, 3), dtype=np.uint8)
    clip = noise.repeat(10, 1).repeat(10, 2)
    clip[:, :, :30] = clip[:, :, -40:] = 3
    clip[4], clip[7] = 0, 220
    processor = ZenVideoProcessor(size=SMALL, do_crop_field_of_view=True, return_field_of_view=True)
    result = processor([clip, frames(12, 90, 160) // 2 + 90], return_tensors="pt")
    assert result.field_of_view.tolist() == [[30, 0, 120, 90], [0, 0, 160, 90]]
    assert result.field_of_view.dtype == torch.int64
    alone = ZenImageProcessor(size=SMALL)(list(clip[:, :, 30:120]), return_tensors="pt").pixel_values
    assert torch.equal(result.pixel_values_videos[0], alone)
    assert set(ZenVideoProcessor(size=SMALL)(clip)) == {"pixel_values_videos"}
    scaled = processor(clip / 255.0, do_rescale=False, return_tensors="np")
    assert scaled.field_of_view.tolist() == [[30, 0, 120, 90]]


def test_refusals(video: Path) -> None:
    processor = ZenVideoProcessor(size=SMALL)
    with pytest.raises(FileNotFoundError, match=r"video 'nowhere.mp4' does not exist"):
        processor("nowhere.mp4")
    with pytest.raises(ValueError, match=r"ZenVideoProcessor has no setting 'num_frame'; did you mean 'num_frames'"):
        ZenVideoProcessor(num_frame=3)
    both = r"^fps and num_frames are mutually exclusive; give one of fps, num_frames and stride$"
    with pytest.raises(ValueError, match=both):
        processor(str(video), do_sample_frames=True, fps=1, num_frames=3)
    with pytest.raises(ValueError, match=both):
        ZenVideoProcessor(fps=1, num_frames=3)
    with pytest.raises(
        ValueError, match=r"^video '.*clip.mp4': num_frames=31 is more than the 30 frames of the video$"
    ):
        processor(str(video), num_frames=31)
    with pytest.raises(ValueError, match=r"^video '.*clip.mp4': fps=25 is above the 10 frames per second"):
        processor(str(video), fps=25)


def test_pixels_that_are_none_are_refused() -> None:
    processor = ZenVideoProcessor(size=SMALL)
    empty: Any
    with pytest.raises(ValueError, match=r"^video 1 holds floating-point values from 0 to 0.\d+ instead of 0 to 255"):
        processor([frames(), frames() / 255.0])
    nan = frames(height=72).astype(np.float32)
    nan[2, 3, 4, 0] = np.nan
    with pytest.raises(ValueError, match=r"^video 0 holds NaN or infinite pixels$"):
        processor(nan)
    for empty in ([], np.zeros((0, 4, 72, 96, 3), dtype=np.uint8)):
        with pytest.raises(ValueError, match=r"^there are no videos: the list is empty$"):
            processor(empty)
    for empty in (np.zeros((0, 72, 96, 3), dtype=np.uint8), [[]], np.zeros((1, 0, 72, 96, 3), dtype=np.uint8)):
        with pytest.raises(ValueError, match=r"^video 0 has no frames$"):
            processor(empty)
    with pytest.raises(ValueError, match=r"^video 1 has no frames$"):
        processor([frames(), np.zeros((0, 72, 96, 3), dtype=np.uint8)])
    with pytest.raises(ValueError, match=r"^video 0 of shape \(2, 0, 96, 3\) has no pixels$"):
        processor(np.zeros((2, 0, 96, 3), dtype=np.uint8))
    with pytest.raises(
        ValueError, match=r"^video 0 of shape \(2, 72, 96, 5\) is not RGB: its second or last side must"
    ):
        processor(np.zeros((2, 72, 96, 5), dtype=np.uint8))


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_damaged_files_are_named(video: Path, decoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "installed_backends", lambda: [decoder])
    content = video.read_bytes()
    for damaged in (b"", b"no video at all", content[: len(content) // 2]):
        video.write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"video '.*clip.mp4' cannot be read \({decoder}: .+\)$"):
            ZenVideoProcessor()(str(video))


def test_a_file_gives_what_its_reader_gives(video: Path) -> None:
    with open_video(video) as reader:
        expected = ZenVideoProcessor(size=SMALL)(reader.read(range(30)), return_tensors="pt").pixel_values_videos
    assert torch.equal(ZenVideoProcessor(size=SMALL)(video, return_tensors="pt").pixel_values_videos, expected)


def test_it_comes_back_from_its_folder(tmp_path: Path) -> None:
    ZenVideoProcessor(size=SMALL, stride=2, do_crop_field_of_view=True).save_pretrained(tmp_path)
    assert {"video_preprocessor_config.json", "video_processing_zen.py"} <= {file.name for file in tmp_path.iterdir()}
    loaded = AutoVideoProcessor.from_pretrained(tmp_path, trust_remote_code=False)
    assert type(loaded) is ZenVideoProcessor
    assert loaded.to_dict() == ZenVideoProcessor.from_pretrained(tmp_path).to_dict()
    assert (loaded.stride, loaded.do_sample_frames, loaded.do_crop_field_of_view) == (2, None, True)
    assert loaded(frames(4), return_tensors="pt").pixel_values_videos.shape[1] == 2

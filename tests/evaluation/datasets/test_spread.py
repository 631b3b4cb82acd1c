from pathlib import Path

import av
import numpy as np
import pytest

from evaluation.datasets.spread import COUNT, spread_frames
from tests.evaluation.datasets.layouts import write_mp4
from training.errors import UserError


def test_the_middles_of_equal_parts(tmp_path: Path) -> None:
    video = write_mp4(tmp_path / "a.mp4", 40)
    frames = spread_frames("tiny", video, 25, count=4)  # parts of 10 frames: 0-9, 10-19, 20-29, 30-39
    assert [(frame.path, frame.frame_index) for frame in frames] == [(video, 5), (video, 15), (video, 25), (video, 35)]
    numbers = [frame.frame_index for frame in spread_frames("tiny", video, None)]
    assert len(set(numbers)) == COUNT == 32
    assert (numbers[0], numbers[-1]) == (0, 39)  # parts of 1.25 frames: 0.625 and 39.375


def test_a_video_with_just_enough_frames(tmp_path: Path) -> None:
    video = write_mp4(tmp_path / "a.mp4", 32)
    assert [frame.frame_index for frame in spread_frames("tiny", video, 25)] == list(range(32))
    write_mp4(video, 31)
    with pytest.raises(UserError, match=r"tiny: '.*a.mp4' has 31 frames; at least 32 are needed"):
        spread_frames("tiny", video, 25)


def test_a_container_without_a_number_of_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 32
        for _ in range(40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    with pytest.raises(UserError, match=r"a.mkv' does not state how many frames it has; rewrite .* -i a.mkv -c copy a"):
        spread_frames("tiny", path, 25)

"""Shared by the streaming tests: heads on the tiny encoder, a short video, and no thread left behind."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from modeling_zen import ZenForImageClassification, ZenForVideoFrameClassification, ZenImageProcessor, ZenModel

from .streaming_frames import FPS, FRAMES, HEIGHT, MULTI_LABEL, WIDTH, small_config, striped_frames, with_trunk


@pytest.fixture
def processor() -> ZenImageProcessor:
    return ZenImageProcessor(size={"height": 64, "width": 64})


@pytest.fixture
def phase_head(model: ZenModel) -> ZenForVideoFrameClassification:
    config = small_config(model, id2label=dict(enumerate(["preparation", "dissection", "closure"])))
    return with_trunk(ZenForVideoFrameClassification(config), model)


@pytest.fixture
def presence_head(model: ZenModel) -> ZenForImageClassification:
    config = small_config(model, id2label={0: "grasper", 1: "hook"}, problem_type=MULTI_LABEL)
    return with_trunk(ZenForImageClassification(config), model)


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of moving stripes; do not write into its folder."""
    path = tmp_path_factory.mktemp("video") / "video.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for frame in striped_frames(FRAMES):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(autouse=True)
def no_threads_left() -> Iterator[None]:
    """Every test must leave no capture thread running."""
    yield
    until = time.monotonic() + 20
    while left := [thread for thread in threading.enumerate() if thread.name == "zen-stream-capture"]:
        assert time.monotonic() < until, f"threads left: {left}"
        time.sleep(0.01)

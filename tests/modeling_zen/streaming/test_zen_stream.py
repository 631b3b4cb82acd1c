"""`ZenStream`: results equal those of the models offline, drops and gaps are counted, nothing is left behind."""

import gc
import itertools
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modeling_zen import ZenForImageClassification, ZenForVideoFrameClassification, ZenImageProcessor, ZenModel
from modeling_zen.streaming import Reconnect, StreamResult, ZenStream
from modeling_zen.video_decoding_zen import open_video

from .streaming_frames import FPS, FRAMES, MULTI_LABEL, offline, small_config, striped_frames, with_trunk


def assert_equal(results: list[StreamResult], wanted: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    embeddings = torch.stack([result.embedding for result in results])
    phases = torch.stack([result.phase_probabilities for result in results])  # type: ignore[misc]
    presence = torch.stack([result.presence_probabilities for result in results])  # type: ignore[misc]
    for found, right in zip((embeddings, phases, presence), wanted, strict=True):
        torch.testing.assert_close(found, right, atol=1e-5, rtol=0)
        assert right.std(0).max() > 1e-4  # the frames differ, so that equality says something


@pytest.mark.parametrize("temporal_head", ["convolution", "transformer"])
@pytest.mark.parametrize("fps", [None, 7])
def test_streaming_a_file_equals_the_models_offline(
    temporal_head: str,
    fps: float | None,
    model: ZenModel,
    processor: ZenImageProcessor,
    presence_head: ZenForImageClassification,
    video: Path,
) -> None:
    config = small_config(model, temporal_head=temporal_head, num_labels=3)
    phase_head = with_trunk(ZenForVideoFrameClassification(config), model)
    heads: dict[str, Any] = {"phase_head": phase_head, "presence_head": presence_head}
    with ZenStream(video, model, processor=processor, fps=fps, **heads) as stream:
        results = list(stream)
    numbers = [result.frame for result in results]
    with open_video(video) as reader:
        assert numbers == (list(range(FRAMES)) if fps is None else [round(n * FPS / 7) for n in range(14)])
        assert_equal(results, offline(reader.read(numbers), model, processor, phase_head, presence_head))
    assert [result.timestamp for result in results] == pytest.approx([number / FPS for number in numbers])
    assert [result.state for result in results] == ["new"] + ["carried"] * (len(results) - 1)
    report = stream.report()
    assert report.policy == "block"
    assert report.frames_dropped == report.gaps == report.losses == 0
    assert report.frames_processed == report.frames_sampled == len(results)


def test_frames_that_were_not_dropped_equal_the_models_offline(
    model: ZenModel,
    processor: ZenImageProcessor,
    phase_head: ZenForVideoFrameClassification,
    presence_head: ZenForImageClassification,
) -> None:
    frames = striped_frames(12)
    first_is_taken, all_are_put = threading.Event(), threading.Event()

    def source() -> Iterator[np.ndarray]:
        yield frames[0]
        first_is_taken.wait(60)
        yield from frames[1:]
        all_are_put.set()

    heads: dict[str, Any] = {"phase_head": phase_head, "presence_head": presence_head}
    with ZenStream(source(), model, processor=processor, policy="drop_oldest", queue_size=3, **heads) as stream:
        results = [next(stream)]
        first_is_taken.set()
        assert all_are_put.wait(60)
        assert stream.report().frames_waiting == 3
        results += stream
    assert [result.frame for result in results] == [0, 9, 10, 11]
    assert [result.dropped_before for result in results] == [0, 8, 0, 0]
    assert [result.state for result in results] == ["new", "kept", "carried", "carried"]
    kept = torch.from_numpy(np.stack([frames[result.frame] for result in results]))
    assert_equal(results, offline(kept, model, processor, phase_head, presence_head))
    report = stream.report()
    assert (report.frames_read, report.frames_sampled, report.frames_processed) == (12, 12, 4)
    assert (report.frames_dropped, report.frames_waiting, report.gaps, report.state_resets) == (8, 0, 1, 0)


@pytest.mark.parametrize("state_max_gap", [0.0, 60.0, math.inf])
def test_a_gap_that_is_too_long_resets_the_temporal_state(
    state_max_gap: float,
    model: ZenModel,
    processor: ZenImageProcessor,
    phase_head: ZenForVideoFrameClassification,
    presence_head: ZenForImageClassification,
) -> None:
    frames = striped_frames(8)

    def connect() -> Iterator[Any]:
        connections.append(1)
        if len(connections) > 1:
            yield from frames[4:]
            return
        yield from frames[:4]
        raise OSError("the cable was pulled")

    connections: list[int] = []
    quick = Reconnect(first_delay=0.01, max_delay=0.01)
    heads: dict[str, Any] = {"phase_head": phase_head, "presence_head": presence_head}
    options: dict[str, Any] = {"reconnect": quick, "state_max_gap": state_max_gap, **heads}
    with ZenStream(connect, model, processor=processor, **options) as stream:
        results = list(stream)
    is_kept = state_max_gap > 0
    assert [result.segment for result in results] == [0] * 4 + [1] * 4
    assert [result.frame for result in results] == list(range(8))
    assert results[4].state == ("kept" if is_kept else "reset")
    pieces = [frames] if is_kept else [frames[:4], frames[4:]]
    wanted = [offline(torch.from_numpy(np.stack(p)), model, processor, phase_head, presence_head) for p in pieces]
    joined = [torch.cat(each) for each in zip(*wanted, strict=True)]
    assert_equal(results, (joined[0], joined[1], joined[2]))
    report = stream.report()
    assert (report.losses, report.reconnects, report.gaps, report.state_resets) == (1, 1, 1, 0 if is_kept else 1)
    assert report.seconds_lost > 0


def test_presence_may_be_a_temporal_head(
    model: ZenModel, processor: ZenImageProcessor, phase_head: ZenForVideoFrameClassification
) -> None:
    config = small_config(model, num_labels=5, problem_type=MULTI_LABEL)
    presence_head = with_trunk(ZenForVideoFrameClassification(config), model)
    frames = torch.from_numpy(np.stack(striped_frames(6)))
    with ZenStream(frames, model, processor=processor, phase_head=phase_head, presence_head=presence_head) as stream:
        assert_equal(list(stream), offline(frames, model, processor, phase_head, presence_head))
    assert stream.phase_labels == ["preparation", "dissection", "closure"]
    assert stream.presence_labels == [f"LABEL_{n}" for n in range(5)]


def test_realtime_paces_a_file_as_a_live_source(model: ZenModel, processor: ZenImageProcessor, video: Path) -> None:
    with ZenStream(video, model, processor=processor, realtime=True, queue_size=FRAMES) as stream:
        results = list(stream)
        report = stream.report()
    assert report.policy == "drop_oldest"
    assert len(results) == FRAMES
    # The last frame cannot come before its time; how much later it comes is the machine's affair.
    assert report.wall_seconds >= (FRAMES - 1) / FPS
    assert report.real_time_factor is not None
    assert report.real_time_factor <= FRAMES / (FRAMES - 1) + 1e-6
    assert results[0].phase_probabilities is None
    assert results[0].presence_probabilities is None


def test_report_adds_up(model: ZenModel, processor: ZenImageProcessor, video: Path) -> None:
    stream = ZenStream(video, model, processor=processor)
    before = stream.report()
    assert (before.frames_read, before.latency_p50_ms, before.real_time_factor) == (0, None, None)
    results = list(stream)
    report = stream.report()
    assert report.video_seconds == pytest.approx(FRAMES / FPS)
    assert report.real_time_factor == pytest.approx(report.video_seconds / report.wall_seconds)
    assert report.frames_per_second == pytest.approx(FRAMES / report.wall_seconds)
    latencies = [result.latency_ms for result in results]
    assert report.latency_max_ms == pytest.approx(max(latencies))
    assert report.latency_p50_ms == pytest.approx(float(np.percentile(latencies, 50, method="inverted_cdf")), rel=0.01)
    for name in ("decode_ms", "waiting_ms", "preprocess_ms", "encoder_ms", "heads_ms"):
        assert getattr(report, name) == pytest.approx(np.mean([getattr(result, name) for result in results]))
    assert all(
        each.latency_ms == pytest.approx(each.waiting_ms + each.preprocess_ms + each.encoder_ms + each.heads_ms)
        for each in results
    )
    assert report.backend in ("decord", "pyav", "torchcodec")


def test_iteration_can_pause_and_go_on(model: ZenModel, processor: ZenImageProcessor, video: Path) -> None:
    with ZenStream(video, model, processor=processor) as stream:
        first = [result.frame for result in itertools.islice(stream, 3)]
        second = [result.frame for result in itertools.islice(stream, 3)]
    assert first + second == list(range(6))
    assert list(stream) == []  # it is closed
    stream.close()


def test_a_stream_that_is_forgotten_ends_its_thread(model: ZenModel, processor: ZenImageProcessor) -> None:
    stream = ZenStream(itertools.cycle(striped_frames(2)), model, processor=processor)
    next(stream)
    assert "zen-stream-capture" in {thread.name for thread in threading.enumerate()}
    del stream
    gc.collect()  # the fixture sees that the thread is gone


def test_closing_ends_a_wait_in_another_thread(model: ZenModel, processor: ZenImageProcessor) -> None:
    release = threading.Event()

    def source() -> Iterator[np.ndarray]:
        yield striped_frames(1)[0]
        release.wait(60)

    stream = ZenStream(source(), model, processor=processor)
    results: list[StreamResult] = []
    consumer = threading.Thread(target=lambda: results.extend(stream))
    consumer.start()
    closing = threading.Timer(0.3, stream.close)
    closing.start()
    consumer.join(60)
    assert not consumer.is_alive()
    assert len(results) == 1
    release.set()


def test_an_error_of_a_model_stops_the_stream(model: ZenModel, video: Path) -> None:
    odd = ZenImageProcessor(size={"shortest_edge": 50}, do_resize=True)  # only seen with the first frame
    with (
        pytest.raises(ValueError, match=r"50 x 50 pixels .* does not divide into patches"),
        ZenStream(video, model, processor=odd) as stream,
    ):
        next(stream)

    stream = ZenStream(video, model, processor=odd)
    with pytest.raises(ValueError, match="does not divide into patches"):
        next(stream)
    assert list(stream) == []  # it is closed


def test_a_frame_on_which_a_model_fails_is_accounted_for(model: ZenModel, processor: ZenImageProcessor) -> None:
    def fail(*_: object) -> None:
        if stream.report().frames_processed == 2:
            assert stream.report().frames_waiting > 0  # the one that is being encoded
            raise RuntimeError("out of memory")

    stream = ZenStream(striped_frames(5), model, processor=processor)
    with model.register_forward_pre_hook(fail), pytest.raises(RuntimeError, match="out of memory"):
        list(stream)
    report = stream.report()
    assert report.frames_processed == 2
    assert report.frames_sampled == report.frames_processed + report.frames_dropped + report.frames_waiting


def test_heads_are_warm_before_the_source_is_read(
    model: ZenModel, processor: ZenImageProcessor, phase_head: ZenForVideoFrameClassification
) -> None:
    def source() -> Iterator[np.ndarray]:
        calls_before.append(len(calls))
        yield from striped_frames(1)

    calls: list[int] = []
    calls_before: list[int] = []
    with (
        phase_head.register_forward_hook(lambda *_: calls.append(1)),
        ZenStream(source, model, processor=processor, phase_head=phase_head) as stream,
    ):
        [result] = stream
    assert (calls_before, len(calls), result.state) == ([1], 2, "new")


def test_an_outage_that_the_clock_does_not_show_is_a_gap_too(
    model: ZenModel, processor: ZenImageProcessor, phase_head: ZenForVideoFrameClassification
) -> None:
    def connect() -> Iterator[Any]:
        connections.append(1)
        yield 0.0, striped_frames(1)[0]
        if len(connections) == 1:
            yield 95.0, striped_frames(1)[0]  # ahead of the time at which it arrives
            raise OSError("the cable was pulled")

    connections: list[int] = []
    quick = Reconnect(first_delay=0.001, max_delay=0.001)
    options: dict[str, Any] = {"phase_head": phase_head, "reconnect": quick, "state_max_gap": 0.0}
    with ZenStream(connect, model, processor=processor, **options) as stream:
        results = list(stream)
    assert [result.timestamp for result in results] == [0, 95, 95]
    assert [result.state for result in results] == ["new", "carried", "reset"]


def test_one_frame_says_nothing_about_the_rate(model: ZenModel, processor: ZenImageProcessor) -> None:
    stream = ZenStream(striped_frames(1), model, processor=processor)
    list(stream)
    report = stream.report()
    assert (report.video_seconds, report.real_time_factor) == (0, None)
    assert report.frames_per_second is not None


def test_an_error_of_the_source_comes_after_the_frames_before_it(model: ZenModel, processor: ZenImageProcessor) -> None:
    def source() -> Iterator[np.ndarray]:
        yield from striped_frames(3)
        raise RuntimeError("the grabber card is hot")

    stream = ZenStream(source(), model, processor=processor, queue_size=1)
    assert [next(stream).frame for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="iterator of frames failed after 3 frames: RuntimeError: the grabber card"):
        next(stream)
    assert list(stream) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"policy": "drop_newest"}, "unknown policy 'drop_newest'; there are block, drop_oldest"),
        ({"queue_size": 0}, "queue_size must be at least 1, not 0"),
        ({"fps": 0}, "fps must be above 0 and finite, not 0"),
        ({"fps": math.inf}, "fps must be above 0 and finite, not inf"),
        ({"fps": 50.0}, "fps=50 is above the 20 frames per second of the video"),
        ({"state_max_gap": -1.0}, "state_max_gap must be at least 0 s, not -1"),
        ({"options": {"rtsp_transport": "udp"}}, "options are FFmpeg's for cameras and network streams"),
    ],
)
def test_wrong_settings_are_refused(
    settings: dict[str, Any], message: str, model: ZenModel, processor: ZenImageProcessor, video: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        ZenStream(video, model, processor=processor, **settings)

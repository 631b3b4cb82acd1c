"""Speed and memory of video -> features: the pipeline against decoding alone, the model alone, and the plain loop.

    python -m benchmarks.video_features [--size small] [--fps [1 5 25]] [--seconds 20] [--rounds 5] [--threads 2]
        [--minutes [1 10]]   (--fps or --minutes alone: without speed, without memory)

The video is generated: H.264, 854 x 480, 25 frames/s, key frames 250 apart. All take the same frames of it. "decode"
reads and preprocesses them as the pipeline's thread does; "model" is the same model at the same batch on ready pixels;
"plain loop" is what is commonly written: all frames by decord into memory, each one through PIL and an image processor
of transformers into the model, with eager attention, alone; "int8" is the pipeline with the encoder exported to ONNX
int8. Decoder and model share the cores, so that no pipeline is faster than the sum of the processor time of both over
the cores: that bound is printed too.

Memory: growth of the resident set in each quarter of extracting 2 frames per second of videos of so many minutes, of
small frames, into a file. The C library takes some hundred passes to reach the room it works in; flat means that the
last quarters are alike.
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import decord
import numpy as np
import torch
from PIL import Image
from transformers import ViTImageProcessorPil
from transformers import pipeline as make_pipeline

from benchmarks.timing import show_ratio, speed_ratio, take_turns
from modeling_zen import ZenConfig, ZenImageProcessor, ZenModel, ZenVideoProcessor
from modeling_zen.export import ZenExportedModel, export_model
from modeling_zen.pipeline_zen import TASK, VideoFeatureSettings
from modeling_zen.video_decoding_zen import open_video, sample_indices

pipeline: Any = make_pipeline  # typed for the tasks of transformers only


def write_video(path: Path, seconds: int, width: int = 854, height: int = 480) -> Path:
    """A camera that wanders over a still texture, with a little noise of its own."""
    generator = np.random.default_rng(0)
    texture = (
        generator.integers(0, 256, (height // 8 + 16, width // 8 + 16, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    )
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "28"}
        for index in range(seconds * 25):
            top, left = (int(60 + 60 * np.sin(index / rate)) for rate in (50, 70))
            view = np.ascontiguousarray(texture[top : top + height, left : left + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
        container.mux(stream.encode())
    return path


def int8_pipeline(model: ZenModel, video: Path, folder: Path, threads: int) -> Any:
    """The pipeline on an ONNX int8 encoder; random weights, so that only its speed means something."""
    processor = ZenImageProcessor()
    export_model(model, folder, precision="int8", calibration=video, max_frames=32, processor=processor, min_cosine=-1)
    exported = ZenExportedModel.from_pretrained(folder, num_threads=threads)
    return pipeline(TASK, model=exported, video_processor=ZenVideoProcessor(), device="cpu")


def candidates(
    path: Path, extract: Any, int8: Any, eager: ZenModel, fps: float
) -> tuple[int, dict[str, Callable[[], object]]]:
    """Number of frames, and what is compared."""
    with open_video(path) as reader:
        indices = sample_indices(reader.num_frames or 0, reader.fps, fps=fps)
    settings = VideoFeatureSettings(fps=fps)
    pixels = torch.randn(settings.frames_per_pass, 3, 224, 224)
    processor = ViTImageProcessorPil(size={"height": 224, "width": 224}, resample=Image.Resampling.BICUBIC)

    def decode() -> None:
        for _ in extract.preprocess({"video": path}, settings):
            pass

    def model() -> None:
        with torch.inference_mode():
            for start in range(0, len(indices), len(pixels)):
                extract.model(pixels[: len(indices) - start])

    @torch.no_grad()
    def plain_loop() -> list[torch.Tensor]:
        frames = decord.VideoReader(str(path)).get_batch(indices).asnumpy()
        inputs = (processor(Image.fromarray(frame), return_tensors="pt") for frame in frames)
        return [eager(**each).pooler_output for each in inputs]

    return len(indices), {
        "decode": decode,
        "model": model,
        "pipeline": lambda: extract(path, fps=fps),
        "int8": lambda: int8(path, fps=fps),
        "plain loop": plain_loop,
    }


def processor_seconds(run: Callable[[], object]) -> float:
    """Seconds of all cores together."""
    start = time.process_time()
    run()
    return time.process_time() - start


def print_speed(path: Path, extract: Any, int8: Any, eager: ZenModel, fps: float, rounds: int, threads: int) -> None:
    """One line of the table."""
    count, runs = candidates(path, extract, int8, eager, fps)
    seconds = take_turns(runs, rounds=rounds)
    shared = (processor_seconds(runs["decode"]) + processor_seconds(runs["model"])) / threads
    slower = max(("decode", "model"), key=lambda name: statistics.median(seconds[name]))
    rates = [count / statistics.median(seconds[name]) for name in runs]
    pairs = [("pipeline", slower), ("pipeline", "plain loop"), ("int8", "plain loop")]
    ratios = [show_ratio(speed_ratio(seconds, one, other)) for one, other in pairs]
    shown = " | ".join(f"{rate:.1f}" for rate in [*rates, count / shared])
    print(f"| {fps:g} | {count} | {shown} | {ratios[0]} ({slower}) | {ratios[1]} | {ratios[2]} |", flush=True)


def resident_growth(run: Callable[[], object]) -> list[float]:
    """MB by which the resident set has grown at most in each quarter of the run, looked at every 20 ms."""

    def resident() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    seen = [resident()]
    is_done = threading.Event()

    def watch() -> None:
        while not is_done.wait(0.02):
            seen.append(resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    run()
    is_done.set()
    watcher.join()
    quarters = [seen[len(seen) * part // 4 : len(seen) * (part + 1) // 4 + 1] for part in range(4)]
    return [max(quarter) - seen[0] for quarter in quarters]


def main() -> None:
    """Print the table and the growth of memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="small")
    parser.add_argument("--fps", nargs="*", type=float, default=[1, 5, 25])
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--minutes", nargs="*", type=int, default=[1, 10])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.fps:
            print_speeds(Path(folder), arguments)
        if arguments.minutes:
            print_memory(Path(folder), arguments.minutes)


def print_speeds(folder: Path, arguments: argparse.Namespace) -> None:
    """The table, a line per sampling rate."""
    config = ZenConfig.from_size(arguments.size)
    model = ZenModel(config).eval()
    extract = pipeline(TASK, model=model, video_processor=ZenVideoProcessor(), device="cpu")
    eager = ZenModel._from_config(config, attn_implementation="eager").eval()
    video = write_video(folder / "video.mp4", arguments.seconds)
    int8 = int8_pipeline(model, video, folder / "int8", arguments.threads)
    print(f"frames/s, ZEN {arguments.size}, {arguments.threads} threads")
    print(
        "| fps | frames | decode | model | pipeline | int8 | plain loop | bound of shared cores | vs slower "
        "| vs plain | int8 vs plain |"
    )
    print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for fps in arguments.fps:
        print_speed(video, extract, int8, eager, fps, arguments.rounds, arguments.threads)


def print_memory(folder: Path, lengths: list[int]) -> None:
    """One line per length of video, in minutes."""
    model = ZenModel(ZenConfig.from_size("nano")).eval()
    extract = pipeline(TASK, model=model, video_processor=ZenVideoProcessor(), device="cpu")
    paths = [write_video(folder / f"{each}.mp4", 60 * each, width=160, height=96) for each in lengths]
    extract(paths[0], fps=2)  # what is loaded and reserved once
    for minutes, path in zip(lengths, paths, strict=True):
        output = folder / f"{minutes}.parquet"
        growth = resident_growth(lambda path=path, output=output: extract(path, fps=2, output=output))  # type: ignore[misc]
        shown = ", ".join(f"{megabytes:.0f}" for megabytes in growth)
        print(f"memory: {minutes} min, growth of the resident set in each quarter: {shown} MB", flush=True)


if __name__ == "__main__":
    main()

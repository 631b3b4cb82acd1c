"""A live 480p video through `ZenStream`: frames per second, drops, latency, and where the time goes.

    python -m benchmarks.streaming [--size small] [--seconds 20] [--fps 25] [--threads 2]
                                   [--encoders eager onnx-int8 openvino-int8] [--video FILE]

A generated clip of 854 x 480 pixels plays at its own pace into an encoder with random weights and a phase head of the
default settings; a frame that comes while four others wait makes the oldest of them drop. Then the same clip once more
as fast as it goes, nothing dropped: what the machine could do, decoding included. Random weights cost what trained ones
do; how close int8 is to float32 is measured elsewhere, on real frames.

All times are milliseconds. Decoding, preprocessing, encoder and heads are means per frame; decoding runs beside the
rest, in its own thread. "cpu" is the processor time of the whole process per frame processed: it tells a slow model
from a busy machine, and divided by the number of cores it is the least that a frame can take on them.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from modeling_zen import ZEN_SIZES, ZenConfig, ZenForVideoFrameClassification, ZenImageProcessor, ZenModel
from modeling_zen.export import ZenExportedModel, export_model
from modeling_zen.streaming import StreamReport, ZenStream

HEIGHT, WIDTH = 480, 854
PHASES = 7  # as in Cholec80
CALIBRATION_FRAMES = 32  # of int8; enough for ranges whose quality nobody asks for here


def main() -> None:
    """Print one line per encoder and pace."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="small", choices=list(ZEN_SIZES))
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--encoders", nargs="+", default=["eager", "onnx-int8", "openvino-int8"], choices=list(ENCODERS)
    )
    parser.add_argument("--video", type=Path, help="a file of your own instead of the generated clip")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    config = ZenConfig.from_size(arguments.size, num_labels=PHASES)
    phase_head = ZenForVideoFrameClassification(config).eval()
    processor = ZenImageProcessor()
    with tempfile.TemporaryDirectory() as folder:
        video = arguments.video or write_clip(Path(folder) / "clip.mp4", arguments.seconds, arguments.fps)
        print("| encoder | pace | frames/s | dropped | p50 | p95 | p99 | decode | preprocess | encoder | heads | cpu |")
        print("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
        for name in arguments.encoders:
            # An exported encoder leaves torch with small tensors: a second thread would only be waited for.
            torch.set_num_threads(arguments.threads if name == "eager" else 1)
            encoder = ENCODERS[name](phase_head.zen, Path(folder) / name, video, arguments.threads)
            for pace in ("live", "free"):
                settings: dict[str, Any] = {"processor": processor, "phase_head": phase_head}
                begin = time.process_time()
                with ZenStream(video, encoder, realtime=pace == "live", **settings) as stream:
                    for _ in stream:
                        pass
                report = stream.report()
                cpu = 1e3 * (time.process_time() - begin) / report.frames_processed
                print(f"| {name} | {pace} | {_show(report)} | {cpu:.1f} |", flush=True)


def write_clip(path: Path, seconds: float, fps: int) -> Path:
    """An H.264 video of blobs and texture that drift, about as hard to decode as laparoscopy of that size."""
    chance = np.random.default_rng(0)
    texture = chance.integers(0, 48, (HEIGHT * 2, WIDTH * 2, 3), dtype=np.uint8)
    smooth = np.kron(chance.integers(0, 200, (24, 43, 3), dtype=np.uint8), np.ones((40, 40, 1), dtype=np.uint8))
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=fps, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(round(seconds * fps)):
            top, left = (round(220 * (1 + np.sin(number / each))) for each in (37, 53))
            area = (slice(top, top + HEIGHT), slice(left, left + WIDTH))
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(smooth[area] + texture[area]), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def _exported(format: Any, precision: Any) -> Callable[[ZenModel, Path, Path, int], ZenExportedModel]:
    def export(model: ZenModel, folder: Path, video: Path, threads: int) -> ZenExportedModel:
        calibration = str(video) if precision == "int8" else None
        # Random weights make no features that could be kept.
        export_model(
            model,
            folder,
            format=format,
            precision=precision,
            calibration=calibration,
            max_frames=CALIBRATION_FRAMES,
            min_cosine=-1.0 if precision == "int8" else None,
        )
        return ZenExportedModel.from_pretrained(folder, num_threads=threads)

    return export


ENCODERS: dict[str, Callable[[ZenModel, Path, Path, int], ZenModel | ZenExportedModel]] = {
    "eager": lambda model, folder, video, threads: model,
    "openvino-int8": _exported("openvino", "int8"),
    "openvino-fp32": _exported("openvino", "fp32"),
    "onnx-int8": _exported("onnx", "int8"),
    "onnx-fp32": _exported("onnx", "fp32"),
}


def _show(report: StreamReport) -> str:
    rate = f"{report.frames_per_second or 0:.1f} | {report.frames_dropped} of {report.frames_sampled}"
    durations = (
        report.latency_p50_ms,
        report.latency_p95_ms,
        report.latency_p99_ms,
        report.decode_ms,
        report.preprocess_ms,
        report.encoder_ms,
        report.heads_ms,
    )
    return f"{rate} | {' | '.join(f'{each or 0:.1f}' for each in durations)}"


if __name__ == "__main__":
    main()

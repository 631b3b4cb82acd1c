"""Exported graphs against eager PyTorch: frames per second, and how close int8 stays on real frames.

    python -m benchmarks.export FRAMES [--model FOLDER] [--size small] [--batch 1 8] [--rounds 10] [--threads 2]

FRAMES is a folder of images or videos to calibrate int8 with and to measure on (other frames of it). Without `--model`
the weights are random, which costs the same; the cosines of random weights say little about trained ones.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.timing import show_ratio, speed_ratio, take_turns
from modeling_zen import ZEN_SIZES, ZenConfig, ZenImageProcessor, ZenModel
from modeling_zen.export import ZenExportedModel, export_model

EXPORTS = [("onnx", "fp32"), ("onnx", "int8"), ("openvino", "fp32"), ("openvino", "int8")]


def main() -> None:
    """Print one line per batch size and model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frames", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--size", default="small", choices=list(ZEN_SIZES))
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    if arguments.model:
        model = ZenModel.from_pretrained(arguments.model)
        processor = ZenImageProcessor.from_pretrained(arguments.model)
    else:
        model, processor = ZenModel(ZenConfig.from_size(arguments.size)).eval(), ZenImageProcessor()
    models: dict[str, Any] = {"eager fp32": model}
    cosines = {"eager fp32": "1 / 1"}
    with tempfile.TemporaryDirectory() as folder:
        for format, precision in EXPORTS:
            name = f"{format} {precision}"
            target = export_model(
                model,
                Path(folder) / name.replace(" ", "-"),
                format=format,  # type: ignore[arg-type]
                precision=precision,  # type: ignore[arg-type]
                calibration=arguments.frames,
                processor=processor,
                min_cosine=-1,  # it is printed here, whatever it is
            )
            parity = json.loads((target / "export.json").read_text())["parity"]
            cosines[name] = " / ".join(f"{parity[tokens]['cosine_mean']:.4f}" for tokens in ("pooler", "dense"))
            models[name] = ZenExportedModel.from_pretrained(target, num_threads=arguments.threads)
        print("| batch | model | frames/s | times eager | mean cosine, pooler / dense |")
        print("|---:|---|---:|---:|---:|")
        for batch in arguments.batch:
            pixels = torch.randn(batch, 3, processor.size["height"], processor.size["width"])
            with torch.inference_mode():
                runs = {name: _run(each, pixels) for name, each in models.items()}
                seconds = take_turns(runs, rounds=arguments.rounds)
            for name in models:
                rate = batch / statistics.median(seconds[name])
                ratio = show_ratio(speed_ratio(seconds, name, "eager fp32"))
                print(f"| {batch} | {name} | {rate:.1f} | {ratio} | {cosines[name]} |", flush=True)


def _run(model: Any, pixels: torch.Tensor) -> Callable[[], object]:
    return lambda: model(pixels)


if __name__ == "__main__":
    main()

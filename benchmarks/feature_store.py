"""Cost of storing features: an extraction against decoding alone and the model alone, and against a second run.

    python -m benchmarks.feature_store [--size nano] [--images DIR] [--frames 64] [--rounds 5] [--threads 2]

Frames are the first of the JPEG and PNG files in DIR; without it, a fifth of a second apart in a generated video of 854
x 480 (H.264). Random weights, 224 x 224, coarse tokens of every frame, dense ones of every fourth. All take turns in
one process:

- decode: every frame, resized
- model: ready frames in the batches of an extraction
- memory: an extraction that keeps everything in memory
- first: one into an empty folder
- second: one more, which finds all frames there and checks every byte

"first" is compared with decode + model (aim: at most 1.05) and "first" with "second". Decoding a video is a process of
its own, so that with several cores a ratio below 1 is possible.
"""

import argparse
import shutil
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.timing import show_ratio, take_turns
from benchmarks.video_features import write_video
from evaluation.backbones import Backbone, load_zen
from evaluation.datasets import FrameReference
from evaluation.feature_store.collector import BATCH_SIZE
from evaluation.features import extract_features
from evaluation.frames import decode, sort_key
from modeling_zen import ZenConfig, ZenImageProcessor, ZenModel

IMAGE_SIZE = 224


def find_frames(images: Path | None, count: int, folder: Path) -> list[FrameReference]:
    """Frames of files, or of a video written to `folder`."""
    if images is None:
        video = write_video(folder / "video.mp4", -(-count // 5))
        return [FrameReference(video, 5 * number) for number in range(count)]
    paths = sorted(path for path in images.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    return sorted((FrameReference(path) for path in paths[:count]), key=sort_key)


def random_backbone(size: str, folder: Path) -> Backbone:
    """ZEN of a size with random weights, as the benchmark loads it."""
    torch.manual_seed(0)
    ZenModel(ZenConfig.from_size(size)).save_pretrained(folder)
    ZenImageProcessor().save_pretrained(folder)
    return load_zen(str(folder), torch.device("cpu"))


def candidates(backbone: Backbone, frames: list[FrameReference], folder: Path) -> dict[str, Callable[[], Any]]:
    """What takes turns."""
    images = np.stack(list(decode(frames, IMAGE_SIZE)))
    dense = frames[::4]

    def extract(store: Path | None) -> Any:
        return extract_features([backbone], frames, dense, IMAGE_SIZE, memory_limit=16.0, folder=store)

    def first() -> None:
        shutil.rmtree(folder / "first", ignore_errors=True)
        assert extract(folder / "first").decoded == len(frames)

    def second() -> None:
        assert extract(folder / "second").decoded == 0

    extract(folder / "second")
    return {
        "decode": lambda: list(decode(frames, IMAGE_SIZE)),
        "model": lambda: [
            backbone.extract(images[start : start + BATCH_SIZE]) for start in range(0, len(images), BATCH_SIZE)
        ],
        "memory": lambda: extract(None),
        "first": first,
        "second": second,
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="nano")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frames = find_frames(arguments.images, arguments.frames, folder)
        backbone = random_backbone(arguments.size, folder / "model")
        seconds = take_turns(candidates(backbone, frames, folder), rounds=arguments.rounds)
        stored = sum(path.stat().st_size for path in (folder / "second").rglob("*") if path.is_file())
    rounds = list(zip(*seconds.values(), strict=True))
    ratios = {
        "first / (decode + model)": [first / (decoding + model) for decoding, model, _, first, _ in rounds],
        "memory / (decode + model)": [memory / (decoding + model) for decoding, model, memory, _, _ in rounds],
        "first / second": [first / second for *_, first, second in rounds],
    }
    kilobytes = stored / len(frames) / 1e3
    print(f"{len(frames)} frames of {kilobytes:.1f} kB, ZEN {arguments.size}, {arguments.threads} threads")
    print("| " + " | ".join(seconds) + " | " + " | ".join(ratios) + " |")
    print("|" + "---:|" * (len(seconds) + len(ratios)))
    times = [f"{statistics.median(each):.2f} s" for each in seconds.values()]
    shown = []
    for each in ratios.values():
        low, middle, high = statistics.quantiles(each, n=4)
        shown.append(show_ratio((middle, low, high)))
    print("| " + " | ".join(times + shown) + " |")


if __name__ == "__main__":
    main()

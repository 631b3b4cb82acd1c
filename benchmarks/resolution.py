"""Cost of a frame against its resolution, 224 to 1024 pixels square, and of a wide frame of as many pixels.

    python -m benchmarks.resolution [--size small] [--rounds 5] [--threads 2]

Random weights, float32, eager PyTorch, one frame at a time. "per patch" is the cost of a patch relative to that at 224:
it would stay 1 if attention cost nothing. Memory is what the process held at most in a process of its own per size.
"""

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.timing import take_turns
from modeling_zen import ZEN_SIZES, ZenConfig, ZenModel

SIZES = [(224, 224), (336, 336), (448, 448), (480, 848), (640, 640), (768, 768), (1024, 1024)]  # height, width


def main() -> None:
    """Print one line per resolution."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="small", choices=list(ZEN_SIZES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peak-of", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    model = ZenModel(ZenConfig.from_size(arguments.size)).eval()
    with torch.inference_mode():
        if arguments.peak_of:
            model(torch.randn(1, 3, *arguments.peak_of))
            # Not getrusage: its maximum is inherited from the process that started this one.
            [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
            print(int(line.split()[1]) // 1024)
            return
        runs = {size: _run(model, torch.randn(1, 3, *size)) for size in SIZES}
        seconds = take_turns({str(size): run for size, run in runs.items()}, rounds=arguments.rounds)
    print("| height x width | patches | ms | times 224 | per patch | peak memory, MiB |")
    print("|---|---:|---:|---:|---:|---:|")
    first = statistics.median(seconds[str(SIZES[0])])
    for height, width in SIZES:
        patches = height * width // 256
        median = statistics.median(seconds[str((height, width))])
        command = [sys.executable, "-m", "benchmarks.resolution", "--size", arguments.size]
        peak = subprocess.run(
            [*command, "--peak-of", str(height), str(width)], check=True, capture_output=True, text=True
        )
        ratio = median / first
        print(
            f"| {height} x {width} | {patches} | {1000 * median:.0f} | {ratio:.1f} | {ratio * 196 / patches:.2f} "
            f"| {peak.stdout.strip()} |",
            flush=True,
        )


def _run(model: ZenModel, pixels: torch.Tensor) -> Callable[[], object]:
    return lambda: model(pixels)


if __name__ == "__main__":
    main()

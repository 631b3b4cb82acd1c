"""Speed of decoding for curation: decord, PyAV and key frames only, and curation itself against decoding.

    python -m benchmarks.decoding [--seconds 40] [--fps 1 5] [--rounds 5] [--sizes 480 1080] [VIDEO ...]

Without VIDEOs they are generated: H.264 of 854 x 480 and 1920 x 1080, 25 frames/s, key frames 250 and 50 apart. All
candidates take turns in one process with one decoder thread; the time that counts is processor time, so that other
work on the machine does not enter. "decord" and "skipping" read the wanted frames through the readers of the package,
"plain" decodes every frame with PyAV and converts the wanted ones, "keyframes" reads the key frames that stand for the
sampling times. Each of the three is given as so many times as fast as decord: median and quartiles of the ratios of
the rounds. Times real time are per core, as everything runs on one.

Curation is timed over the same videos at the first --fps, in this process and with all filters, against two things:
"plain" decoding of the file as above, and "wanted": reading the frames that curation reads, through the same child
process, and doing nothing with them. Processor time includes that of the child.
"""

import argparse
import os
import resource
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

from benchmarks.timing import show_ratio, speed_ratio
from training.corpus.curation import curate
from training.corpus.decoder_process import DecoderProcess, DecodingSettings
from training.corpus.decoding import choose_frames, facts_of, open_video, read_arrays
from training.corpus.settings import CurationSettings

SIZES = {"480": (480, 854), "1080": (1080, 1920)}


def write_video(path: Path, seconds: int, height: int, width: int, gop: int) -> Path:
    """A camera that wanders over a still texture, with noise of its own in every frame."""
    generator = np.random.default_rng(0)
    shape = (height // 8 + 16, width // 8 + 16, 3)
    texture = generator.integers(0, 256, shape, dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    noise = generator.integers(-6, 7, (4, height, width, 1), dtype=np.int16)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "26", "g": str(gop), "keyint_min": str(gop)}
        for index in range(seconds * 25):
            top, left = (int(60 + 60 * np.sin(index / rate)) for rate in (50, 70))
            view = texture[top : top + height, left : left + width].astype(np.int16) + noise[index % 4]
            frame = av.VideoFrame.from_ndarray(view.clip(0, 255).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def processor_seconds() -> float:
    """Of this process and its ended children."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def take_turns(candidates: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Processor seconds of each candidate in each round."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(rounds):
        names = list(candidates)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = processor_seconds()
            candidates[name]()
            seconds[name].append(processor_seconds() - start)
    return seconds


def candidates(path: Path, fps: float) -> dict[str, Callable[[], object]]:
    """What is compared on one video."""

    def read(reader: str, mode: str) -> None:
        video = open_video(path, reader, 1, "never")
        wanted = choose_frames(facts_of(video), fps, mode).indices.tolist()
        for _ in read_arrays(video, wanted, path):
            pass
        video.close()

    wanted = set(choose_frames(facts_of(open_video(path, "pyav", 1, "never")), fps, "exact").indices.tolist())

    def plain() -> None:
        with av.open(str(path)) as container:
            container.streams.video[0].codec_context.thread_count = 1
            for number, frame in enumerate(container.decode(video=0)):
                if number in wanted:
                    frame.to_ndarray(format="rgb24")

    return {
        "decord": lambda: read("decord", "exact"),
        "plain": plain,
        "skipping": lambda: read("pyav", "exact"),
        "keyframes": lambda: read("pyav", "keyframes"),
    }


def print_readers(paths: Sequence[Path], rates: Sequence[float], rounds: int) -> None:
    """One line per video and rate."""
    print("| video | fps | decord, s | plain | skipping | keyframes | x real time, skipping | keyframes | time error |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for path in paths:
        facts = facts_of(open_video(path, "pyav", 1, "never"))
        length = facts.frame_count / facts.fps
        for fps in rates:
            error = choose_frames(facts, fps, "keyframes")
            seconds = take_turns(candidates(path, fps), rounds)
            ratios = [show_ratio(speed_ratio(seconds, name, "decord")) for name in ("plain", "skipping", "keyframes")]
            speeds = [f"{length / statistics.median(seconds[name]):.0f}" for name in ("skipping", "keyframes")]
            spent = f"{statistics.median(seconds['decord']):.2f}"
            errors = f"{error.error_mean:.2f} s, at most {error.error_max:.2f} s"
            cells = [path.stem, f"{fps:g}", spent, *ratios, *speeds, errors]
            print(f"| {' | '.join(cells)} |", flush=True)


def print_curation(paths: Sequence[Path], fps: float, rounds: int, folder: Path) -> None:
    """One line per video: curation against plain decoding, and against reading the same frames in the same child."""
    print(
        "| video | fps | plain, s | wanted, s | curation, s | against plain | against wanted | x real time per core |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    decoding = DecodingSettings(threads=1)
    settings = CurationSettings(fps=fps, decoding=decoding, engine="inline", deidentify=False)
    for path in paths:
        source = folder / f"source-{path.stem}"
        source.mkdir()
        (source / path.name).symlink_to(path)
        length = 0.0
        seconds: dict[str, list[float]] = {"plain": [], "wanted": [], "curation": []}
        plain = candidates(path, fps)["plain"]
        for turn in range(rounds):
            before = processor_seconds()
            plain()
            start = processor_seconds()
            with DecoderProcess(decoding) as decoder:
                facts = decoder.open(path)
                length = facts.frame_count / facts.fps
                for _ in decoder.read(choose_frames(facts, fps, "exact").indices.tolist()):
                    pass
            middle = processor_seconds()
            curate([source], folder / f"out-{path.stem}-{turn}", settings)
            seconds["curation"].append(processor_seconds() - middle)
            seconds["wanted"].append(middle - start)
            seconds["plain"].append(start - before)
        ratios = [show_ratio(speed_ratio(seconds, "curation", other)) for other in ("plain", "wanted")]
        spent = [statistics.median(seconds[name]) for name in seconds]
        cells = [path.stem, f"{fps:g}", *(f"{each:.2f}" for each in spent), *ratios, f"{length / spent[-1]:.0f}"]
        print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="*", type=Path)
    parser.add_argument("--seconds", type=int, default=40)
    parser.add_argument("--fps", nargs="*", type=float, default=[1, 5])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", nargs="*", choices=tuple(SIZES), default=list(SIZES))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [path.absolute() for path in arguments.videos] or [
            write_video(folder / f"h264_{size}_gop{gop}.mp4", arguments.seconds, *SIZES[size], gop)
            for size in arguments.sizes
            for gop in (250, 50)
        ]
        print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
        print_readers(paths, arguments.fps, arguments.rounds)
        print_curation(paths, arguments.fps[0], arguments.rounds, folder)


if __name__ == "__main__":
    main()

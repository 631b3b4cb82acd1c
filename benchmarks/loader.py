"""The loader against decoding alone, the opening of a large manifest, and memory against the size of the corpus.

    python -m benchmarks.loader [--corpus CORPUS] [--rounds 3] [--folder TMP]

Three tables. The first takes one shuffle window of a corpus in the loader's order: the JPEGs held in memory and decoded
only, the same JPEGs as files of their own, `Corpus.read`, and the whole loader with its augmented views of 224 pixels.
Without --corpus it is made of drawn frames of 455 x 256 pixels. The other two are about corpora of drawn frames whose
shards are one file under many names: a million frames fit a small disk, and the loader cannot tell.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.timing import show_ratio, speed_ratio, take_turns
from training.corpus import Corpus
from training.corpus.frames import encode_image
from training.corpus.manifest import (
    CLIP_SCHEMA,
    CURATION_FILE,
    MANIFEST_FILE,
    ROWS_PER_GROUP,
    SHARD_FOLDER,
)
from training.corpus.shards import open_shard, shard_name
from training.loader import DataConfig, TrainingViews, training_batches

SHARD_FRAMES = 12_800
CLIP_FRAMES = 16
MEMORY_SHARDS = (1, 10, 80)  # 12,800 to 1,024,000 frames
MANY_CLIPS = 4_000_000
SEED = 0
BASE = "decode only"  # what every speed is compared with


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", help="a corpus to take the frames of the first table from")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to put about 400 MB for a while")
    parser.add_argument("--memory-of", metavar="CORPUS", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        print(json.dumps(memory_of(arguments.memory_of)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        root = Path(temporary)
        shard = write_shard(root / "one-shard.parquet")
        corpora = [write_corpus(root / str(number), shard, number * SHARD_FRAMES, number) for number in MEMORY_SHARDS]
        print_speed(arguments.corpus or str(corpora[0]), root, arguments.rounds)
        print_memory(corpora)
        print_opening(write_corpus(root / "many", shard, MANY_CLIPS * CLIP_FRAMES, 1, distinct=True), arguments.rounds)


def print_speed(location: str, folder: Path, rounds: int) -> None:
    """Frames per second of one shuffle window, each candidate beside decoding alone."""
    config = DataConfig(corpus=location)
    views = TrainingViews(Corpus.open(location), config, 224, SEED)
    samples = range(min(views.groups.draws, config.shuffle_block * config.shuffle_window))
    encoded = []
    for sample in samples:
        for part in views.parts(sample):
            encoded += [image.to_pybytes() for _, image in views.corpus.encoded(views.clips[part.clip], part.positions)]
    (folder / "files").mkdir()
    files = [folder / "files" / f"{number}.jpg" for number in range(len(encoded))]
    for path, image in zip(files, encoded, strict=True):
        path.write_bytes(image)

    def read() -> None:
        fresh = TrainingViews(Corpus.open(location), config, 224, SEED)  # with nothing cached
        for sample in samples:
            for part in fresh.parts(sample):
                fresh.corpus.read(fresh.clips[part.clip], part.positions)

    def load(workers: int) -> Callable[[], None]:
        def run() -> None:
            fresh = TrainingViews(Corpus.open(location), DataConfig(corpus=location, workers=workers), 224, SEED)
            for _ in training_batches(fresh, 0, len(samples) // 32, 32, 0, 1):
                pass

        return run

    candidates = {
        BASE: lambda: [_decode(image) for image in encoded],
        "the JPEGs as files": lambda: [_decode(path.read_bytes()) for path in files],
        "Corpus.read": read,
        "loader with views": load(0),
        "loader with views, 2 workers": load(2),
    }
    seconds = take_turns(candidates, rounds=rounds, warm_up=0)
    size = sum(map(len, encoded)) / len(encoded) / 1000
    print(f"\n{len(encoded)} frames of {size:.0f} kB on average, {os.cpu_count()} cores, {rounds} rounds\n")
    print("| | frames/s | speed against decode only |\n|---|---:|---:|")
    for name, times in seconds.items():
        ratio = show_ratio(speed_ratio(seconds, name, BASE))
        print(f"| {name} | {len(encoded) / statistics.median(times):.0f} | {ratio} |", flush=True)


def print_memory(corpora: list[Path]) -> None:
    """Memory of a process that draws three shuffle windows, one process per corpus."""
    print("\n| frames | shards | MiB held by groups and order | MiB more than before opening, at most | us per frame |")
    print("|---:|---:|---:|---:|---:|")
    for corpus in corpora:
        command = [sys.executable, "-m", "benchmarks.loader", "--memory-of", str(corpus)]
        measured = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        shards = len(list((corpus / SHARD_FOLDER).iterdir()))
        cells = [measured["frames"], shards, f"{measured['arrays']:.1f}", f"{measured['peak']:.0f}"]
        print(f"| {' | '.join(map(str, cells))} | {measured['cost']:.0f} |", flush=True)


def print_opening(corpus: Path, rounds: int) -> None:
    """Seconds to open a corpus of many clips, and to have its first sample's frames named."""

    def first_sample() -> None:
        TrainingViews(Corpus.open(corpus), DataConfig(corpus=str(corpus)), 224, SEED).parts(0)

    seconds = take_turns(
        {"Corpus.open": lambda: Corpus.open(corpus), "and the first sample": first_sample}, rounds=rounds
    )
    print(
        f"\n| manifest of {MANY_CLIPS} rows, {(corpus / MANIFEST_FILE).stat().st_size / 1e6:.0f} MB | s |\n|---|---:|"
    )
    for name, times in seconds.items():
        print(f"| {name} | {statistics.median(times):.2f} |", flush=True)


def memory_of(location: str) -> dict[str, float]:
    """MiB that reading three windows adds at most, of arrays that grow with the clips, and processor time per frame."""
    before = _peak()
    started, read = time.process_time(), 0
    views = TrainingViews(Corpus.open(location), DataConfig(corpus=location), 224, SEED)
    for sample in range(3 * views.config.shuffle_block * views.config.shuffle_window):
        for part in views.parts(sample):
            for _ in views.corpus.encoded(views.clips[part.clip], part.positions):  # undecoded: as much is held
                read += 1
    cost = (time.process_time() - started) / read * 1e6
    held = [value for owner in (views.groups, views.groups._segments) for value in vars(owner).values()]
    arrays = sum(value.nbytes for value in held if isinstance(value, np.ndarray)) / 2**20
    return {"frames": views.groups.num_frames, "arrays": arrays, "peak": _peak() - before, "cost": cost}


def write_shard(path: Path) -> Path:
    """A shard of drawn frames in clips "clip0", "clip1", ..."""
    rng = np.random.default_rng(0)
    images = [encode_image(_draw(rng), "jpeg", 95) for _ in range(64)]
    facts = {"video_id": "v", "case_id": "c", "width": 455, "height": 256, "phash": 0, "luma": 0.0, "sharpness": 0.0}
    with open_shard(path, 32) as shard:
        for clip in range(SHARD_FRAMES // CLIP_FRAMES):
            rows = (
                {
                    **facts,
                    "clip_id": f"clip{clip}",
                    "frame_index": p,
                    "timestamp": float(p),
                    "image": images[number % 64],
                }
                for p, number in enumerate(range(clip * CLIP_FRAMES, (clip + 1) * CLIP_FRAMES))
            )
            shard.add(rows, CLIP_FRAMES)
    return path


def write_corpus(folder: Path, shard: Path, frames: int, shards: int, *, distinct: bool = False) -> Path:
    """A corpus of this many frames whose shards are all `shard`, none of it held out.

    With `distinct` ids, as genuine manifests have them, its frames cannot be read: the shard repeats its own.
    """
    (folder / SHARD_FOLDER).mkdir(parents=True)
    for number in range(shards):
        (folder / SHARD_FOLDER / shard_name(number)).hardlink_to(shard)
    count, per_shard = frames // CLIP_FRAMES, SHARD_FRAMES // CLIP_FRAMES
    clip = np.arange(count)
    columns = {
        "clip_id": pa.array([f"clip{number}" for number in (clip if distinct else clip % per_shard).tolist()]),
        "case_id": _repeated("case", clip // 200),
        "video_id": _repeated("video", clip // 200),
        "sha256": _repeated("digest", clip // 200),
        "path": _repeated("path", clip // 200),
        "shard": pa.array([shard_name(number) for number in range(shards)]).take(pa.array(clip // per_shard % shards)),
        "shard_row": pa.array(clip % per_shard * CLIP_FRAMES),
        "num_frames": pa.array(np.full(count, CLIP_FRAMES, np.int32)),
        "weight": pa.array(np.ones(count)),
        "split": _constant("train", count),
        **{name: _constant("", count) for name in ("source", "licence", "mask")},
    }
    arrays = [
        columns[field.name].cast(field.type) if field.name in columns else _default(field, count)
        for field in CLIP_SCHEMA
    ]
    pq.write_table(
        pa.Table.from_arrays(arrays, schema=CLIP_SCHEMA), folder / MANIFEST_FILE, row_group_size=ROWS_PER_GROUP
    )
    facts = {"fingerprint": "none", "counts": {"clips": count}}
    (folder / CURATION_FILE).write_text(json.dumps(facts), encoding="utf-8")
    return folder


def _draw(rng: np.random.Generator) -> np.ndarray:
    """A smooth picture with some grain: about 20 kB at quality 95, as genuine frames have."""
    cells = cv2.resize(rng.integers(40, 220, (9, 16, 3), dtype=np.uint8), (455, 256), interpolation=cv2.INTER_CUBIC)
    return np.clip(cells + rng.normal(0, 1.2, cells.shape), 0, 255).astype(np.uint8)


def _decode(encoded: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB)


def _repeated(prefix: str, numbers: np.ndarray) -> pa.Array:
    return pa.array([f"{prefix}{number}" for number in range(int(numbers[-1]) + 1)]).take(pa.array(numbers))


def _constant(text: str, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(text, pa.string()), count)


def _default(field: pa.Field, count: int) -> pa.Array:
    if pa.types.is_list(field.type):
        return pa.repeat(pa.scalar([], field.type), count)
    return (
        pa.repeat(pa.scalar(0, field.type), count) if pa.types.is_integer(field.type) else pa.nulls(count, field.type)
    )


def _peak() -> float:
    """MiB that this process has held at most. Not getrusage: its maximum is inherited from the parent."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
